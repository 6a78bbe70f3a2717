"""PostgreSQL away, cut, locked, frozen or full: 503 with Retry-After, no hang, no wrong count, and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import httpx

from tests.faults.clients import Load, call, client, race
from tests.faults.conftest import Rounds
from tests.faults.ground import Customer, Ground, Outage, check_refusals, outage
from tests.faults.serving import HEALTHZ, READYZ
from tests.faults.waiting import until

LOCKED_SECONDS = 5.0
CALLS_IN_VAIN = 200

_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


async def _statuses(ground: Ground, path: str) -> set[int]:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as via:
        replies = await asyncio.gather(*(via.get(url + path) for url in ground.urls))
    assert all("retry-after" in reply.headers for reply in replies if reply.status_code == 503)
    return {reply.status_code for reply in replies}


async def _seen_from_outside(ground: Ground, load: Load) -> None:
    """Return when an outage shows everywhere it should, and nowhere else."""

    async def is_not_ready() -> bool:
        return await _statuses(ground, READYZ) == {503}

    before = load.count(503)
    await until(lambda: load.count(503) > before, "calls are refused")
    await until(is_not_ready, "readyz says so")
    assert await _statuses(ground, HEALTHZ) == {200}


async def _recovers(ground: Ground, load: Load) -> None:
    await ground.ready()
    before = load.count(200)
    await until(lambda: load.count(200) >= before + 32, "calls are answered again")


def _workers(ground: Ground) -> list[list[int]]:
    return [server.workers for server in ground.servers]


async def _right(
    ground: Ground, customer: Customer, load: Load, outages: Iterable[Outage], survivors: list[list[int]]
) -> None:
    assert _workers(ground) == survivors, "a worker was restarted"
    check_refusals(load.calls, 200, 503)
    assert await ground.account_for(customer, load.calls, list(outages)) > 0


async def test_an_absent_postgresql_is_503_and_everything_goes_on_when_it_is_back(
    ground: Ground, rounds: Rounds
) -> None:
    """Broken by a committer that keeps its dead connection: refused for ever after."""
    customer, survivors = await ground.customer(), _workers(ground)
    outages = []
    async with ground.load(customer).running() as load:
        for _ in rounds(1):
            await until(lambda: load.count(200) > 32, "calls are answered")
            async with outage() as kept:
                outages.append(kept)
                ground.postgres.stop()
            await _seen_from_outside(ground, load)
            await ground.postgres.start()
            await _recovers(ground, load)
    await _right(ground, customer, load, outages, survivors)


async def test_a_frozen_postgresql_makes_nobody_wait_beyond_the_bound(ground: Ground) -> None:
    """Broken by a commit without a time-out: callers waited for as long as the server was frozen."""
    customer, survivors = await ground.customer(), _workers(ground)
    async with ground.load(customer).running() as load:
        await until(lambda: load.count(200) > 32, "calls are answered")
        async with outage() as kept:
            frozen = ground.postgres.freeze()
            try:
                await _seen_from_outside(ground, load)
                # These began when nothing was under way any more that could still be given up for them.
                since = time.monotonic()
                await until(lambda: load.count(503, since=since) >= load.clients, "everybody is refused")
            finally:
                ground.postgres.thaw(frozen)
        await _recovers(ground, load)
    await _right(ground, customer, load, [kept], survivors)


async def test_cut_connections_lose_and_invent_nothing(ground: Ground, rounds: Rounds) -> None:
    """Broken by a committer that keeps the connection that was cut: refused for ever after."""
    customer, survivors = await ground.customer(), _workers(ground)
    outages = []
    async with ground.load(customer).running() as load, ground.connected() as connection:
        for _ in rounds(5):
            await until(lambda: load.count(200) > 32, "calls are answered")
            await asyncio.sleep(ground.source.uniform(0, 0.3))
            async with outage() as kept:
                outages.append(kept)
                await connection.fetch(_CUT)
            await _recovers(ground, load)
    await _right(ground, customer, load, outages, survivors)


async def test_what_is_refused_behind_a_foreign_lock_is_never_charged_later(ground: Ground) -> None:
    """Broken by a batch without a time-out in the server: given up here, committed there once it was free."""
    customer, survivors = await ground.customer(), _workers(ground)
    async with ground.load(customer).running() as load:
        await until(lambda: load.count(200) > 32, "calls are answered")
        async with ground.locked(customer):
            before = load.count(503)
            await asyncio.sleep(LOCKED_SECONDS)
            await until(lambda: load.count(503) > before, "calls are given up")
            assert await _statuses(ground, HEALTHZ) == {200}
        await _recovers(ground, load)
    await _right(ground, customer, load, [], survivors)


async def test_a_full_disk_charges_nothing_and_is_over_when_there_is_space(
    ground: Ground, tmp_path: Path
) -> None:
    """Broken by an engine that takes «disk full» for the item's fault: 500, and no way to tell a retry helps.

    The file of this month's events is the device that is always full: the kernel's own ENOSPC, for
    which nothing need be mounted.
    """
    customer = await ground.customer()
    events = await _empty_file_of_events(ground)
    survivors = _workers(ground)
    ground.postgres.stop()
    events.unlink()
    events.symlink_to("/dev/full")
    await ground.ready()
    async with ground.load(customer).running() as load:
        await until(lambda: load.count(503) > 64, "calls are refused")
        assert load.count(200) == 0
        assert await ground.charged(customer) == {}
        assert await _statuses(ground, HEALTHZ) == {200}
        space = events.with_suffix(".space")
        space.touch(mode=0o600)
        space.replace(events)
        await _recovers(ground, load)
    await _right(ground, customer, load, [], survivors)


async def _empty_file_of_events(ground: Ground) -> Path:
    """Empty the books and return the file that this month's events will be written to."""
    async with ground.connected() as connection:

        async def is_empty() -> bool:
            try:
                await connection.execute("TRUNCATE usage_event, quota, reservation")
            except asyncpg.DeadlockDetectedError:  # a reaper takes the same tables in another order
                return False
            return True

        await until(is_empty, "the books are empty")
        path = await connection.fetchval(
            "SELECT pg_relation_filepath('usage_event_' || to_char(af_now() AT TIME ZONE 'UTC', 'YYYY_MM'))"
        )
        await connection.execute("CHECKPOINT")
    file = ground.postgres.data / path
    assert file.stat().st_size == 0
    return file


async def test_a_call_refused_while_postgresql_was_away_is_never_charged(ground: Ground) -> None:
    """Broken by a ledger that keeps what it has refused and sends it when the database is back: charged."""
    customer = await ground.customer()
    async with ground.load(customer).running() as warm:
        # Every worker has seen the key, so that calls get as far as the ledger.
        await until(lambda: warm.count(200) > 64, "calls are answered")
    ground.postgres.stop()
    calls = await race(ground.urls, customer.secret, "work", calls=CALLS_IN_VAIN)
    check_refusals(calls, 503)
    await ground.ready()
    calls += warm.calls
    async with client() as via:
        while calls[-1].status != 200:
            calls.append(await call(via, ground.urls[0], customer.secret))
    check_refusals(calls, 200, 503)
    assert await ground.account_for(customer, calls) > 0
