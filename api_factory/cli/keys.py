"""`api-factory key`: issue, list and end API keys."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from api_factory.cli import output
from api_factory.cli.durations import duration
from api_factory.cli.references import key_id_of
from api_factory.cli.session import actions_option, actor, at_engine
from api_factory.errors import BadUserInput

if TYPE_CHECKING:
    from uuid import UUID

    from api_factory.actions import Catalogue
    from api_factory.keys import IssuedKey, Key, KeyPage, NewKey
    from api_factory.wiring import Engine

_COLUMNS = ("id", "account", "name", "env", "status", "scopes", "last_used_at", "expires_at")
_LARGEST_BIGINT = 2**63 - 1
_STATUSES = ("ACTIVE", "SUSPENDED", "REVOKED", "EXPIRED")


@click.group("key")
def key_command() -> None:
    """Issue, list and end API keys. KEY is an id, such as key_…, or the beginning that the list shows."""


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"It is not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise click.BadParameter('It is no JSON object; write one like {"team": "search"}.')
    return value


@key_command.command("create")
@click.option("--account", required=True, help="Id or e-mail of the account it belongs to.")
@click.option("--name", required=True, help="What people call it.")
@click.option("--scope", "scopes", multiple=True, help="What it may do; may be repeated.")
@click.option(
    "--env",
    type=click.Choice(["live", "test"]),
    default="live",
    show_default=True,
    help="Test is never billed.",
)
@click.option("--expires-in", type=duration, metavar="TIME", help="When it stops working, such as 30d.")
@click.option("--cidr", "cidrs", multiple=True, help="A network it may be used from; may be repeated.")
@click.option(
    "--cap-units", type=click.IntRange(0, _LARGEST_BIGINT), help="Units a period that it alone may use."
)
@click.option(
    "--allow-action", "allowed", multiple=True, metavar="ACTION", help="Only this one; may be repeated."
)
@click.option(
    "--trusted-documents-only", "trusted_only", is_flag=True, help="It runs only documents of the manifest."
)
@click.option(
    "--metadata", type=_json_object, default="{}", metavar="JSON", help="An object that actions can read."
)
@actions_option
@output.json_option
def create(account: str, modules: tuple[str, ...], **wishes: Any) -> None:
    """Issue a key. Its secret is printed this once and kept nowhere."""

    async def work(engine: Engine) -> tuple[IssuedKey, Catalogue]:
        owner = await engine.accounts.find(account)
        scopes = engine.catalogue.scopes
        issued = await engine.keys.create(owner.id, _new_key(engine, wishes), by=actor(), known_scopes=scopes)
        return issued, engine.catalogue

    _hand_over(*at_engine(work, modules=modules, with_actions=True))


@key_command.command("list")
@click.option("--account", help="Only those of this account: its id or e-mail.")
@click.option(
    "--status", type=click.Choice(_STATUSES, case_sensitive=False), help="Only those in this state."
)
@click.option(
    "--first", default=50, show_default=True, type=click.IntRange(1, 100), help="How many, newest first."
)
@click.option("--after", metavar="KEY", help="Go on behind this key.")
@output.json_option
def list_keys(account: str | None, status: str | None, first: int, after: str | None) -> None:
    """List keys, the newest first; never a secret."""
    behind = None if after is None else key_id_of(after)

    async def work(engine: Engine) -> KeyPage:
        from api_factory.keys import KeyStatus

        owner = None if account is None else (await engine.accounts.find(account)).id
        wanted = None if status is None else KeyStatus(status.upper())
        return await engine.keys.list(account_id=owner, status=wanted, after=behind, first=first)

    page = at_engine(work)
    output.show_rows([_record(key) for key in page.keys], _COLUMNS)
    if page.has_next:
        output.next_step(f"api-factory key list --after {page.keys[-1].public_id}")
    elif page.keys:
        output.next_step(f"api-factory key show {page.keys[0].public_id}")
    else:
        output.next_step("api-factory key create --account ACCOUNT --name NAME")


@key_command.command("show")
@click.argument("key")
@output.json_option
def show(key: str) -> None:
    """Show a key; never its secret."""
    key_id = key_id_of(key)
    found = at_engine(lambda engine: engine.keys.find(key_id))
    output.show(_record(found))
    output.next_step(f"api-factory key rotate {found.public_id}, or suspend, resume, revoke")


@key_command.command("suspend")
@click.argument("key")
@click.option("--reason", help="Why; kept with the key.")
@output.json_option
def suspend(key: str, reason: str | None) -> None:
    """Stop a key until it is resumed: no call of it commits after this returns."""
    _change(key, lambda engine, id_: engine.keys.suspend(id_, by=actor(), reason=reason), "resume")


@key_command.command("resume")
@click.argument("key")
@output.json_option
def resume(key: str) -> None:
    """Let a suspended key work again."""
    _change(key, lambda engine, id_: engine.keys.resume(id_, by=actor()), "show")


@key_command.command("revoke")
@click.argument("key")
@click.option("--reason", help="Why; kept in the audit log.")
@output.json_option
def revoke(key: str, reason: str | None) -> None:
    """End a key for ever: no call of it commits after this returns."""
    _change(key, lambda engine, id_: engine.keys.revoke(id_, by=actor(), reason=reason), "list")


@key_command.command("rotate")
@click.argument("key")
@click.option(
    "--grace", type=duration, metavar="TIME", help="How long the old secret still works; unset: not at all."
)
@output.json_option
def rotate(key: str, grace: timedelta | None) -> None:
    """Give a key a new secret; its id, quota, limits and history stay."""
    from api_factory.actions import Catalogue

    key_id = key_id_of(key)
    seconds = 0 if grace is None else int(grace.total_seconds())

    issued = at_engine(lambda engine: engine.keys.rotate(key_id, grace_seconds=seconds, by=actor()))
    _hand_over(issued, Catalogue.load((), entry_points=False))


def _new_key(engine: Engine, wishes: Mapping[str, Any]) -> NewKey:
    from api_factory.actions import DEFAULT_SCOPES
    from api_factory.keys import NewKey

    expires_in: timedelta | None = wishes["expires_in"]
    return NewKey(
        name=wishes["name"],
        scopes=wishes["scopes"] or DEFAULT_SCOPES,
        allowed_actions=_known_actions(wishes["allowed"], engine.catalogue),
        cidrs=wishes["cidrs"],
        cap_units=wishes["cap_units"],
        trusted_documents_only=wishes["trusted_only"],
        metadata=wishes["metadata"],
        livemode=wishes["env"] == "live",
        expires_at=None if expires_in is None else engine.clock.now() + expires_in,
    )


def _known_actions(names: Sequence[str], catalogue: Catalogue) -> tuple[str, ...] | None:
    for name in names:
        if name not in catalogue:
            known = ", ".join(action.name for action in catalogue)
            raise BadUserInput(
                f"There is no action {name!r}; there are {known}. --actions MODULE adds a module."
            )
    return tuple(names) or None


def _hand_over(issued: IssuedKey, catalogue: Catalogue) -> None:
    from api_factory.cli.curl import DEFAULT_URL, callable_with, curl_line

    output.show({**_record(issued.key), "secret": issued.secret}, essence=issued.secret)
    output.talk(f"{issued.key.public_id}: keep the secret now, it is not shown again.")
    if output.is_json():  # a program reads it, and what goes to stderr may end in a log
        output.next_step(f"call {DEFAULT_URL}/graphql with it, once `api-factory serve` runs")
        return
    line = curl_line(DEFAULT_URL, None, callable_with(issued.key, catalogue))
    output.next_step(f"with the secret in KEY, and `api-factory serve` running:\n  {line}")


def _change(reference: str, verb: Callable[[Engine, UUID], Awaitable[Key]], then: str) -> None:
    key_id = key_id_of(reference)
    changed = at_engine(lambda engine: verb(engine, key_id))
    output.show(_record(changed))
    output.next_step(
        f"api-factory key {then}" if then == "list" else f"api-factory key {then} {changed.public_id}"
    )


def _record(key: Key) -> dict[str, object]:
    from api_factory.ids import public_id

    return {
        "id": key.public_id,
        "account": public_id("acc", key.account_id),
        "name": key.name,
        "env": "live" if key.livemode else "test",
        "status": key.status.value,
        "suspended_reason": key.suspended_reason,
        "scopes": sorted(key.scopes),
        "allowed_actions": key.allowed_actions,
        "cidrs": key.cidrs,
        "cap_units": key.cap_units,
        "trusted_documents_only": key.trusted_documents_only,
        "metadata": key.metadata,
        "prefix": key.prefix,
        "hint": key.hint,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
