"""Verification: finds what differs, runs once however many workers there are, and cannot be cut short."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from api_factory.db import Database
from api_factory.errors import Unavailable
from api_factory.usage import Line, Usage

if TYPE_CHECKING:
    from tests.usage.conftest import Ground


async def plant(ground: Ground, units: int) -> None:
    """Falsify one balance behind the ledger's back."""
    await ground.db.execute(
        "UPDATE quota SET used = used + $1"
        " WHERE ctid = (SELECT ctid FROM quota ORDER BY period_start LIMIT 1)",
        units,
    )


async def test_a_verification_by_one_worker_is_every_workers_gauge(ground: Ground) -> None:
    """Fails when the drift is kept in the process that found it."""
    other = Usage(ground.db)
    assert await other.last_drift() is None
    await ground.ledger.charge(await ground.payer(await ground.account()), [Line("echo", 2)], "r")
    await plant(ground, 5)
    assert (await ground.usage.verify()).drift == 5
    assert await other.last_drift() == 5
    await plant(ground, -5)
    await ground.usage.verify()
    assert await other.last_drift() == 0


async def test_a_drift_that_nobody_measured_lately_is_unknown(ground: Ground) -> None:
    """Fails when the age is not looked at: a verification that hangs would read as 0 for ever."""
    await ground.usage.verify()
    assert await ground.usage.last_drift() == 0
    await ground.set_time("2 hours")
    assert await ground.usage.last_drift() is None


async def test_workers_verify_all_once_a_day_and_the_recent_periods_every_ten_minutes(ground: Ground) -> None:
    await ground.ledger.charge(await ground.payer(await ground.account()), [Line("echo", 2)], "r")

    async def scopes_done() -> list[str]:
        rows = await ground.db.fetch(
            "SELECT scope FROM verification WHERE at > af_now() - interval '1 minute'"
        )
        return sorted(row["scope"] for row in rows)

    first, second, third = [await ground.usage.verify_when_due() for _ in range(3)]
    assert first is not None
    assert second is not None
    assert third is None
    assert (first.calls, second.calls) == (1, 1)
    assert await scopes_done() == ["all", "recent"]
    await ground.set_time("11 minutes")
    assert await ground.usage.verify_when_due() is not None
    assert await ground.usage.verify_when_due() is None
    assert await scopes_done() == ["recent"]


async def test_two_workers_never_verify_at_once(ground: Ground) -> None:
    """Fails without the advisory lock: the second would read all events too."""
    blocker = await ground.db.connect()
    try:
        # Holds the first verification where it reads the counters.
        await blocker.execute("BEGIN; LOCK TABLE quota IN ACCESS EXCLUSIVE MODE")
        first = asyncio.create_task(ground.usage.verify_when_due())
        while not await blocker.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.01)
        assert await Usage(ground.db).verify_when_due() is None
        await blocker.execute("ROLLBACK")
        assert await first is not None
    finally:
        await blocker.close()


async def test_a_verification_may_take_longer_than_any_other_statement(database_url: str) -> None:
    """Fails when the pool's time-out holds for it too: with many events it could never end."""
    database = Database(database_url, command_timeout_seconds=1)
    await database.open()
    blocker = await database.connect()
    try:
        with pytest.raises(Unavailable):
            await database.fetch("SELECT pg_sleep(5)")
        await blocker.execute("BEGIN; LOCK TABLE quota IN ACCESS EXCLUSIVE MODE")
        verifying = asyncio.create_task(Usage(database).verify())
        await asyncio.sleep(1.5)
        await blocker.execute("ROLLBACK")
        assert (await verifying).counters >= 0
    finally:
        await blocker.close()
        await database.close()


async def test_a_verification_writes_nothing_but_its_outcome(ground: Ground) -> None:
    from api_factory.usage import store

    async with ground.db.transaction():
        await store.begin_verification(ground.db, 60)
        level = await ground.db.fetchval("SHOW transaction_isolation")
        read_only = await ground.db.fetchval("SHOW transaction_read_only")
        timeout = await ground.db.fetchval("SHOW statement_timeout")
    assert (level, read_only, timeout) == ("repeatable read", "on", "1min")
    assert await ground.db.fetchval("SHOW statement_timeout") == "0"


async def test_a_charge_in_the_middle_of_a_verification_is_no_drift(ground: Ground) -> None:
    """Fails when counters and events are read in two snapshots."""
    payer = await ground.payer(await ground.account(None))
    stop = asyncio.Event()

    async def charge() -> None:
        while not stop.is_set():
            await ground.ledger.charge(payer, [Line("echo", 1)], "r")

    charging = [asyncio.create_task(charge()) for _ in range(4)]
    drifts = [(await ground.usage.verify()).drift for _ in range(20)]
    stop.set()
    await asyncio.gather(*charging)
    assert drifts == [0] * 20


async def test_a_recent_verification_reads_two_periods_and_no_older_partition(ground: Ground) -> None:
    payer = await ground.payer(await ground.account(None))
    await ground.set_time("-4 months")
    await ground.usage.make_partitions(0)
    await ground.db.execute("UPDATE account SET period_anchor = date_trunc('month', af_now(), 'UTC')")
    await ground.ledger.charge(payer, [Line("echo", 3)], "old")
    await plant(ground, 4)
    await ground.set_time("0 months")
    await ground.ledger.charge(payer, [Line("echo", 1)], "new")
    recent, everything = await ground.usage.verify("recent"), await ground.usage.verify("all")
    assert (recent.drift, recent.calls, recent.counters) == (0, 1, 1)
    assert (everything.drift, everything.calls, everything.counters) == (4, 2, 2)
    # What is wrong in an old period stays in the gauge until all is verified again.
    await ground.usage.verify("recent")
    assert await ground.usage.last_drift() == 4
