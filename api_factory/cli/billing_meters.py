"""`api-factory billing meters`: used units on their way to Stripe, compared with what Stripe has counted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from api_factory.cli import output
from api_factory.cli.session import at_engine

if TYPE_CHECKING:
    from api_factory.billing.meters import MeterComparison
    from api_factory.wiring import Engine

_COLUMNS = ("account_id", "customer_id", "sent_units", "stripe_units")


@click.command("meters")
@click.option("--days", default=35, show_default=True, type=click.IntRange(1, 90), help="How far back.")
@click.option("--send", "is_sent", is_flag=True, help="Close and send first what is due.")
@output.json_option
@click.pass_context
def meters_command(context: click.Context, days: int, is_sent: bool) -> None:
    """Compare the units sent for each customer with Stripe's own sums; exit with 1 when they differ."""

    async def compare(engine: Engine) -> MeterComparison:
        if is_sent:
            await engine.billing.meters.run()
        return await engine.billing.meters.compare(days)

    found = at_engine(compare)
    record: dict[str, object] = {
        "customers": found.customers,
        "pending_units": found.pending_units,
        "dead_units": found.dead_units,
    }
    rows = [asdict(each) for each in found.differences]
    if output.is_json():
        output.show_json({**record, "differences": rows})
    else:
        output.show({**record, "differences": len(rows)})
        output.show_rows(rows, _COLUMNS)
    if rows or found.dead_units:
        output.next_step("look at what Stripe refused, then bill or credit the difference on an invoice")
        context.exit(1)
    output.next_step("nothing to do: Stripe has counted what was sent")
