"""`api-factory usage`: what was used, and the proof that the ledger is right."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from api_factory.cli import output
from api_factory.cli.references import key_id_of
from api_factory.cli.session import at_engine

if TYPE_CHECKING:
    from api_factory.keys import Key
    from api_factory.usage import QuotaStanding
    from api_factory.wiring import Engine


@click.group("usage")
def usage_command() -> None:
    """Show what was used, and check the ledger."""


@usage_command.command("show")
@click.option("--account", required=True, help="Id or e-mail of the account.")
@click.option(
    "--env", type=click.Choice(["live", "test"]), default="live", show_default=True, help="Which keys."
)
@click.option("--key", help="Only this key, against its cap if it has one.")
@output.json_option
def show(account: str, env: str, key: str | None) -> None:
    """Show the units of the current period: used, held by running calls, and left."""
    key_id = None if key is None else key_id_of(key)

    async def standing(engine: Engine) -> QuotaStanding:
        owner = await engine.accounts.find(account)
        if key_id is None:
            return await engine.usage.standing(owner.id, livemode=env == "live")
        return await _standing_of_key(engine, await engine.keys.find(key_id, account_id=owner.id))

    found = at_engine(standing)
    output.show(
        {
            "used": found.used,
            "reserved": found.reserved,
            "limit": found.included,
            "remaining": found.remaining,
            "period_start": found.period_start,
            "period_end": found.period_end,
        }
    )
    if found.remaining == 0:
        output.next_step(f"api-factory account set-quota {account} UNITS, or wait for the next period")
    else:
        output.next_step("api-factory usage verify")


async def _standing_of_key(engine: Engine, key: Key) -> QuotaStanding:
    """Return where a key stands against its cap; one without has no counter, so its events are summed."""
    from api_factory.usage import Filter

    if key.cap_units is not None:
        return await engine.usage.standing(key.account_id, livemode=key.livemode, key_id=key.id)
    period = await engine.usage.standing(key.account_id, livemode=key.livemode)
    wanted = Filter(period.period_start, period.period_end, livemode=key.livemode, key_ids=(key.id,))
    report = await engine.usage.report(key.account_id, wanted, "MONTH")
    return period._replace(included=None, used=report.units, reserved=0)


@usage_command.command("verify")
@output.json_option
@click.pass_context
def verify(context: click.Context) -> None:
    """Recompute every balance from the events; a drift other than 0 is a fault and exits with 1."""
    found = at_engine(lambda engine: engine.usage.verify())
    record: dict[str, object] = {"drift": found.drift, "rows": found.counters, "events": found.calls}
    output.show({**record, "differences": [asdict(each) for each in found.differences]})
    if found.drift:
        output.next_step(
            "keep this output, stop charging (`api-factory account suspend`) and find what wrote"
        )
        context.exit(1)
    output.next_step("nothing to do: every balance equals the sum of its events")
