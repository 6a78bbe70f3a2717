"""Events by month: what is read, what is dropped, and what is left of the balances."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from api_factory.errors import Unavailable
from api_factory.usage import Line, Payer, store

if TYPE_CHECKING:
    from tests.usage.conftest import Ground


async def partitions(ground: Ground) -> set[str]:
    rows = await ground.db.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'usage_event'::regclass"
    )
    return {row["name"] for row in rows}


async def at_month(ground: Ground, month: int) -> None:
    """Let the database's clock stand in the middle of a month of 2025, whose partition is made."""
    await ground.db.execute(
        "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
        f"$$SELECT '2025-{month:02}-15T12:00Z'::timestamptz$$"
    )
    await ground.usage.make_partitions(0)


@pytest.fixture
async def year(ground: Ground) -> AsyncIterator[Payer]:
    """A caller who was charged `month` units in the middle of each of six months; it is June."""
    before = await partitions(ground)
    account: UUID | None = None
    for month in range(1, 7):
        await at_month(ground, month)
        if account is None:
            account = await ground.account(None)
            payer = await ground.payer(account, cap_units=100)
            # Periods begin on the 20th: each lies in two months of events.
            await ground.db.execute("UPDATE account SET period_anchor = '2024-12-20T00:00Z'")
        await ground.ledger.charge(payer, [Line("echo", month)], f"r{month}")
    yield payer
    for name in await partitions(ground) - before:
        await ground.db.execute(f"DROP TABLE {name}")


def scanned(plan: Any) -> set[str]:
    """Return the tables that a plan reads."""
    names = {plan["Relation Name"]} if "Relation Name" in plan else set()
    return names.union(*(scanned(child) for child in plan.get("Plans", [])))


async def plan_of(connection: asyncpg.Connection, sql: str, *arguments: object) -> Any:
    row = await connection.fetchval(f"EXPLAIN (FORMAT JSON, ANALYZE, TIMING OFF) {sql}", *arguments)
    return json.loads(row)[0]["Plan"]


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
async def test_a_report_reads_only_the_months_it_is_about(ground: Ground, year: Payer, plans: str) -> None:
    """Fails when the bounds of `at` are wrapped in an expression: then every month is read."""
    connection = await ground.db.connect()
    try:
        await connection.execute(f"SET plan_cache_mode = {plans}")
        since, until = datetime(2025, 4, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)
        plan = await plan_of(
            connection, store._BUCKETS, year.account_id, True, since, until, "day", None, None
        )
    finally:
        await connection.close()
    assert scanned(plan) == {"usage_event_2025_04"}


async def test_the_standing_reads_no_event(ground: Ground, year: Payer) -> None:
    connection = await ground.db.connect()
    try:
        plan = await plan_of(connection, store._STANDING, year.account_id, True, UUID(int=0))
    finally:
        await connection.close()
    assert "quota" in scanned(plan)
    assert not any(name.startswith("usage_event") for name in scanned(plan))


async def test_a_recent_verification_reads_only_the_months_of_two_periods(
    ground: Ground, year: Payer
) -> None:
    connection = await ground.db.connect()
    try:
        since = await connection.fetchval(store._VERIFIABLE_SINCE, True)
        plan = await plan_of(connection, store._DIFFERENCES, since)
    finally:
        await connection.close()
    read = {name for name in scanned(plan) if name.startswith("usage_event_2025")}
    assert read == {"usage_event_2025_04", "usage_event_2025_05", "usage_event_2025_06"}


async def test_events_older_than_the_retention_go_and_their_balances_stay(
    ground: Ground, year: Payer
) -> None:
    """Fails when verification goes on expecting the events of the periods that lost some."""
    assert (await ground.usage.verify()).calls == 6
    assert await ground.usage.drop_events(3) == 2
    left = {name for name in await partitions(ground) if name.startswith("usage_event_2025")}
    assert left == {f"usage_event_2025_{month:02}" for month in (3, 4, 5, 6)}
    assert await ground.db.fetchval("SELECT sum(used)::int FROM quota WHERE key_id = $1", UUID(int=0)) == 21
    found = await ground.usage.verify()
    # The period from February 20th has lost February: it is not verified, those from March 20th on are.
    assert (found.drift, found.calls, found.counters) == (0, 3, 6)
    assert await ground.usage.drop_events(3) == 0


async def test_a_planted_difference_is_still_found_after_events_were_dropped(
    ground: Ground, year: Payer
) -> None:
    await ground.usage.verify()
    await ground.usage.drop_events(3)
    await ground.db.execute(
        "UPDATE quota SET used = used + 2 WHERE key_id = $1 AND period_start > '2025-05-01'", UUID(int=0)
    )
    assert (await ground.usage.verify()).drift == 2


async def test_nothing_is_dropped_while_a_balance_differs(
    ground: Ground, year: Payer, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails when events are dropped unseen: they are the evidence."""
    before = await partitions(ground)
    await ground.db.execute("UPDATE quota SET used = used + 1 WHERE period_start < '2025-02-01'")
    await ground.usage.verify()
    assert await ground.usage.drop_events(3) == 0
    assert await partitions(ground) == before
    assert "expired events are kept" in caplog.text


async def test_a_busy_table_is_not_waited_for(ground: Ground, year: Payer) -> None:
    """Fails without lock_timeout: every charge would queue behind the waiting DROP."""
    before = await partitions(ground)
    await ground.usage.verify()
    reader = await ground.db.connect()
    try:
        await reader.execute("BEGIN; SELECT count(*) FROM usage_event")
        with pytest.raises(Unavailable):
            await ground.usage.drop_events(3)
        assert (await ground.ledger.charge(year, [Line("echo", 1)], "r")).used == 7
    finally:
        await reader.close()
    assert await partitions(ground) == before
    assert await ground.drift() == 0


async def test_what_fell_into_the_default_partition_is_dropped_too(ground: Ground, year: Payer) -> None:
    await ground.db.execute(
        "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
        "$$SELECT '2024-12-01T12:00Z'::timestamptz$$"
    )
    await ground.ledger.charge(year, [Line("echo", 5)], "december")
    assert await ground.db.fetchval("SELECT count(*) FROM usage_event_default") == 1
    await at_month(ground, 6)
    await ground.usage.verify()
    await ground.usage.drop_events(12)
    assert await ground.db.fetchval("SELECT count(*) FROM usage_event_default") == 1
    await ground.usage.drop_events(3)
    assert await ground.db.fetchval("SELECT count(*) FROM usage_event_default") == 0
    assert await ground.drift() == 0


async def test_the_present_and_the_last_period_cannot_be_dropped(ground: Ground, year: Payer) -> None:
    await ground.usage.verify()
    with pytest.raises(asyncpg.RaiseError):
        await ground.usage.drop_events(1)


async def test_charging_goes_on_while_events_are_dropped(ground: Ground, year: Payer) -> None:
    await ground.usage.verify()
    dropping = asyncio.create_task(ground.usage.drop_events(3))
    charges = (ground.ledger.charge(year, [Line("echo", 1)], f"r{n}") for n in range(40))
    standings = await asyncio.gather(*charges)
    assert await dropping == 2
    assert max(standing.used for standing in standings) == 46
    assert await ground.drift() == 0


async def test_what_was_not_verified_within_a_day_is_not_dropped(ground: Ground, year: Payer) -> None:
    """Fails when a drop does not ask for a verification: a difference would lose its evidence unseen."""
    await ground.db.execute("DELETE FROM verification")
    assert await ground.usage.drop_events(3) == 0
    await ground.usage.verify("recent")
    assert await ground.usage.drop_events(3) == 0
    await ground.usage.verify()
    await ground.db.execute("UPDATE verification SET at = at - interval '26 hours'")
    assert await ground.usage.drop_events(3) == 0
    await ground.usage.verify()
    assert await ground.usage.drop_events(3) == 2
