"""`api-factory notice`: what the owner was told, and what did not arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from api_factory.cli import output
from api_factory.cli.session import at_engine

if TYPE_CHECKING:
    from api_factory.notices import Delivery
    from api_factory.wiring import Engine

_COLUMNS = ("id", "kind", "channel", "state", "attempts", "last_error", "created_at")


@click.group("notice")
def notice_command() -> None:
    """List notices by webhook and mail, and send them again."""


@notice_command.command("list")
@click.option(
    "--state", type=click.Choice(["pending", "delivered", "dead"]), help="Only deliveries in this state."
)
@click.option("--first", default=50, show_default=True, type=click.IntRange(1, 500), help="How many.")
@output.json_option
def list_notices(state: Literal["pending", "delivered", "dead"] | None, first: int) -> None:
    """List the newest deliveries."""
    found = at_engine(lambda engine: engine.notices.list(state=state, first=first))
    output.show_rows([_record(each) for each in found], _COLUMNS)
    dead = next((each for each in found if each.state == "dead"), None)
    if dead is not None:
        output.next_step(f"mend the receiver, then api-factory notice resend {dead.notice.public_id}")
    else:
        output.next_step("api-factory notice test")


@notice_command.command("resend")
@click.argument("notice")
@output.json_option
def resend(notice: str) -> None:
    """Send a NOTICE, msg_…, again through every channel that has ended."""

    async def again(engine: Engine) -> int:
        count = await engine.notices.resend(notice)
        await engine.notices.deliver_due()
        return count

    output.show({"notice": notice, "deliveries": at_engine(again)})
    output.next_step("api-factory notice list")


@notice_command.command("test")
@output.json_option
@click.pass_context
def test(context: click.Context) -> None:
    """Send a notice of the kind `notice.test` to the owner; exit with 1 when it does not arrive."""

    async def send(engine: Engine) -> tuple[Delivery, ...]:
        return await engine.notices.send_test()

    found = at_engine(send)
    output.show_rows([_record(each) for each in found], _COLUMNS)
    if not found:
        output.next_step(
            "set API_FACTORY_NOTICE_URL or API_FACTORY_SMTP_URL, for nobody is told anything yet"
        )
        context.exit(1)
    if any(each.state != "delivered" for each in found):
        output.next_step("correct what the last error names; it is tried again")
        context.exit(1)
    output.next_step("nothing to do: the notice arrived")


def _record(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.notice.public_id,
        "kind": delivery.notice.kind,
        "channel": delivery.channel.value,
        "recipient": delivery.recipient,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_attempt_at": delivery.next_attempt_at if delivery.state == "pending" else None,
        "last_error": delivery.last_error,
        "created_at": delivery.notice.created_at,
        "facts": delivery.notice.facts,
    }
