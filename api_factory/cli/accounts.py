"""`api-factory account`: create and change accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from api_factory.cli import output
from api_factory.cli.session import actor, at_engine

if TYPE_CHECKING:
    from uuid import UUID

    from api_factory.accounts import Account
    from api_factory.wiring import Engine

_COLUMNS = ("id", "email", "name", "plan", "status", "quota_units", "rate", "created_at")
_LARGEST_BIGINT = 2**63 - 1
_NO_REASON = "Set on the command line."


@click.group("account")
def account_command() -> None:
    """Create and change accounts. ACCOUNT is an id, such as acc_…, or an e-mail."""


@account_command.command("create")
@click.option("--email", required=True, help="Its e-mail; also a name for it in these commands.")
@click.option("--name", default="", help="What people call it.")
@click.option("--plan", default="free", show_default=True, help="A plan of `api-factory plan list`.")
@click.option(
    "--quota", "quota_units", type=click.IntRange(0, _LARGEST_BIGINT), help="Units a period, over the plan's."
)
@click.option("--rate", help='Rate limits, over the plan\'s, such as "100000/second".')
@output.json_option
def create(email: str, name: str, plan: str, quota_units: int | None, rate: str | None) -> None:
    """Create an account."""
    account = at_engine(
        lambda engine: engine.accounts.create(
            email, name=name, plan=plan, quota_units=quota_units, rate=rate, by=actor()
        )
    )
    output.show(_record(account), essence=account.public_id)
    output.next_step(f"api-factory key create --account {account.public_id} --name first")


@account_command.command("list")
@click.option(
    "--first", default=50, show_default=True, type=click.IntRange(1, 500), help="How many, newest first."
)
@click.option("--after", metavar="ACCOUNT", help="Go on behind this account.")
@output.json_option
def list_accounts(first: int, after: str | None) -> None:
    """List accounts, the newest first."""

    async def page(engine: Engine) -> tuple[Account, ...]:
        behind = None if after is None else (await engine.accounts.find(after)).id
        return await engine.accounts.list(after=behind, first=first)

    accounts = at_engine(page)
    output.show_rows([_record(account) for account in accounts], _COLUMNS)
    if len(accounts) == first:
        output.next_step(f"api-factory account list --after {accounts[-1].public_id}")
    elif accounts:
        output.next_step(f"api-factory account show {accounts[0].public_id}")
    else:
        output.next_step("api-factory account create --email you@example.com")


@account_command.command("show")
@click.argument("account")
@output.json_option
def show(account: str) -> None:
    """Show an account."""
    found = at_engine(lambda engine: engine.accounts.find(account))
    output.show(_record(found))
    output.next_step(f"api-factory usage show --account {found.public_id}")


@account_command.command("set-plan")
@click.argument("account")
@click.argument("plan")
@output.json_option
def set_plan(account: str, plan: str) -> None:
    """Put an account on another PLAN; overrides of the account stay."""
    _change(account, lambda engine, found: engine.accounts.set_plan(found, plan, by=actor()))


@account_command.command("set-quota")
@click.argument("account")
@click.argument("units")
@click.option("--reason", default=_NO_REASON, help="Why; kept with the override.")
@output.json_option
def set_quota(account: str, units: str, reason: str) -> None:
    """Give an account a quota of UNITS a period over its plan's; `none` follows the plan again."""
    quota = _units_or_none(units)
    _change(account, lambda engine, found: engine.accounts.set_quota(found, quota, reason=reason, by=actor()))


@account_command.command("set-rate")
@click.argument("account")
@click.argument("rate")
@click.option("--reason", default=_NO_REASON, help="Why; kept with the override.")
@output.json_option
def set_rate(account: str, rate: str, reason: str) -> None:
    """Give an account rate limits over its plan's, such as "10/second;600/minute"; `none` undoes it."""
    limit = None if rate.lower() == "none" else rate
    _change(account, lambda engine, found: engine.accounts.set_rate(found, limit, reason=reason, by=actor()))


@account_command.command("suspend")
@click.argument("account")
@click.option("--reason", default="Suspended on the command line.", help="Why; kept with the account.")
@output.json_option
def suspend(account: str, reason: str) -> None:
    """Stop every key of an account; `resume` undoes it."""
    _change(account, lambda engine, found: engine.accounts.suspend(found, reason=reason, by=actor()))


@account_command.command("resume")
@click.argument("account")
@output.json_option
def resume(account: str) -> None:
    """Let the keys of a suspended account work again."""
    _change(account, lambda engine, found: engine.accounts.resume(found, by=actor()))


def _change(reference: str, verb: Callable[[Engine, UUID], Awaitable[Account]]) -> None:
    async def work(engine: Engine) -> Account:
        return await verb(engine, (await engine.accounts.find(reference)).id)

    changed = at_engine(work)
    output.show(_record(changed))
    output.next_step(
        f"every server follows at once; see `api-factory usage show --account {changed.public_id}`"
    )


def _units_or_none(text: str) -> int | None:
    if text.lower() == "none":
        return None
    digits = text.replace("_", "").replace(",", "")
    if not digits.isascii() or not digits.isdigit() or int(digits) > _LARGEST_BIGINT:
        raise click.BadParameter(f"{text!r} is no number of units; give one of 0 or more, or none.")
    return int(digits)


def _record(account: Account) -> dict[str, object]:
    return {
        "id": account.public_id,
        "email": account.email,
        "name": account.name,
        "plan": account.plan_slug,
        "status": account.status.value,
        "suspended_reason": account.suspended_reason,
        "quota_units": account.quota_units,
        "rate": account.rate,
        "override_reason": account.override_reason,
        "created_at": account.created_at,
    }
