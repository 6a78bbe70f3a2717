"""`api-factory billing reconcile|replay`: Stripe and this server compared, and an event worked on again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api_factory.cli import output
from api_factory.cli.session import actor, at_engine

if TYPE_CHECKING:
    from api_factory.billing.model import Comparison, Difference
    from api_factory.wiring import Engine

_COLUMNS = ("kind", "subscription", "customer", "account", "here", "there")
_SENTENCES = {
    "done": "it was done",
    "skipped": "nobody worked on it",
    "needs_attention": "it waited for a person",
    "dead": "it had failed for days",
    "pending": "it waited already",
    "missing": "it was fetched from Stripe",
}


@click.command("reconcile")
@click.option(
    "--apply", "is_applied", is_flag=True, help="Take what differs from Stripe, and work it off now."
)
@output.json_option
@click.pass_context
def reconcile_command(context: click.Context, is_applied: bool) -> None:
    """Compare all subscriptions and events with Stripe; without --apply nothing is changed.

    Exits with 1 when something differs, or with --apply when something is left that a person has to decide.
    """

    async def compare(engine: Engine) -> tuple[Comparison, Comparison]:
        services = engine.billing
        found = await services.reconciliation.run(apply=is_applied)
        if not is_applied:
            return found, found
        await services.worker.drain()
        return found, await services.reconciliation.run(apply=False)

    found, left = at_engine(compare)
    _show(found, left, is_applied)
    if left.differences or left.missing_events:
        output.next_step(_advice(is_applied))
        context.exit(1)
    output.next_step("nothing to do: Stripe and this server agree")


@click.command("replay")
@click.argument("event")
@output.json_option
def replay_command(event: str) -> None:
    """Work on an event of Stripe again; one that never came is fetched."""

    async def replay(engine: Engine) -> tuple[str, str]:
        was = await engine.billing.inbox.replay(event, by=actor())
        await engine.billing.worker.drain()
        return was, await engine.billing.inbox.state(event)

    was, now = at_engine(replay)
    output.show({"event": event, "was": was, "state": now})
    output.talk(f"Before: {_SENTENCES.get(was, was)}.")
    if now != "done":
        output.next_step("api-factory doctor, and the event's last error")
    else:
        output.next_step("api-factory billing reconcile")


def _show(found: Comparison, left: Comparison, is_applied: bool) -> None:
    """Print the counts and what is left, or with --json every difference."""
    record: dict[str, object] = {"applied": is_applied, "checked": found.checked}
    if output.is_json():
        record["missing_events"] = list(found.missing_events)
        record["differences"] = [_row(each) for each in found.differences]
        record["left"] = [_row(each) for each in left.differences]
    else:
        record["missing_events"] = len(found.missing_events)
        record["differences"] = len(found.differences)
        record["left"] = len(left.differences)
    output.show(record)
    if left.differences and not output.is_json():
        output.show_rows([_row(each) for each in left.differences], _COLUMNS)


def _row(difference: Difference) -> dict[str, object]:
    from api_factory.ids import public_id

    account = difference.account_id
    return {
        "kind": difference.kind,
        "subscription": difference.subscription_id,
        "customer": difference.customer_id,
        "account": None if account is None else public_id("acc", account),
        "here": difference.here,
        "there": difference.there,
    }


def _advice(is_applied: bool) -> str:
    if not is_applied:
        return "api-factory billing reconcile --apply"
    return "decide what is left: map prices, link or refund customers, cancel what is double"
