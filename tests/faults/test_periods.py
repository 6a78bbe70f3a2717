"""The turn of a period under load: every unit in one period, nothing reset, nothing twice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from tests.faults.clients import UNITS
from tests.faults.ground import Customer, Ground, check_refusals
from tests.faults.waiting import until

PAID_UNITS = 100
AHEAD = timedelta(seconds=3)

_SUMS = """
SELECT period_start, min(at) AS first, max(at) AS last, sum(units)::int AS units
FROM usage_event WHERE account_id = $1 GROUP BY 1 ORDER BY 1
"""


@contextlib.asynccontextmanager
async def _shortly_before_the_turn(ground: Ground, customer: Customer) -> AsyncIterator[None]:
    """Move the database's clock to just before the end of a customer's period; it goes on from there."""
    async with ground.connected() as connection:
        shift = await connection.fetchval(
            "SELECT extract(epoch FROM period.ends - clock_timestamp() - $2::interval)::float8"
            " FROM account, af_period(account.period_anchor, clock_timestamp()) AS period WHERE id = $1",
            customer.account_id,
            AHEAD,
        )
        await _set_clock(ground, f"clock_timestamp() + interval '{shift} seconds'")
        try:
            yield
        finally:
            await _set_clock(ground, "clock_timestamp()")


async def _set_clock(ground: Ground, moment: str) -> None:
    quoted = moment.replace("'", "''")
    async with ground.connected() as connection:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE"
            f" AS 'SELECT {quoted}'"
        )


async def test_each_period_gets_exactly_its_quota_across_the_turn(ground: Ground) -> None:
    """Broken by a counter without the period in its key, set to 0 by the first call after the turn."""
    limited = await ground.customer(quota=PAID_UNITS)
    free = await ground.customer()
    async with _shortly_before_the_turn(ground, limited):
        await ground.ready()  # the workers have noticed the leap and registered anew
        async with (
            ground.load(limited, clients=8).running() as edge,
            ground.load(free, clients=8).running() as flow,
        ):

            async def is_used_up_twice() -> bool:
                return [used for used, _ in await ground.counters(limited)] == [PAID_UNITS, PAID_UNITS]

            await until(is_used_up_twice, "both periods are used up")
            before = flow.count(200)
            await until(lambda: flow.count(200) > before + 32, "calls go on in the new period")
    check_refusals(edge.calls, 200, 429, 503)
    check_refusals(flow.calls, 200, 503)
    delivered = sum(UNITS[each.action] for each in edge.calls if each.status == 200)
    assert delivered == 2 * PAID_UNITS
    assert await ground.account_for(limited, edge.calls) == 2 * PAID_UNITS
    await ground.account_for(free, flow.calls)
    await _each_event_is_in_its_period(ground, limited)
    await _each_event_is_in_its_period(ground, free)


async def _each_event_is_in_its_period(ground: Ground, customer: Customer) -> None:
    async with ground.connected() as connection:
        old, new = await connection.fetch(_SUMS, customer.account_id)
    counters = [used for used, _ in await ground.counters(customer)]
    assert counters == [old["units"], new["units"]]
    # A call that had set its units aside before the turn is charged where it held them.
    assert old["first"] < new["period_start"] <= new["first"]
