from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api_factory.accounts import Account, Accounts, Plans
from api_factory.audit import Actor
from api_factory.clock import ManualClock, SystemClock
from api_factory.db import Database
from api_factory.errors import Unavailable
from api_factory.ids import uuid7
from api_factory.keys import Key, KeyCache, Keys, KeyStatus, NewKey
from api_factory.rates import parse_rates

MoveTime = Callable[[str], Awaitable[None]]
Follow = Callable[..., KeyCache]
SNAPSHOT = "AS change_epoch"


class Gate(Database):
    """The same database; readings of a key can be counted and held back after the server has answered."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.readings = 0
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.after: Callable[[], Awaitable[None]] | None = None

    async def fetchrow(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        row = await super().fetchrow(sql, *arguments)
        if SNAPSHOT in sql:
            self.readings += 1
            await self.is_open.wait()
            if self.after is not None:
                await self.after()
        return row

    async def reached(self, readings: int) -> None:
        """Return when this many readings have been answered by the server."""
        await eventually(lambda: self.readings == readings)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def gate(database: Database) -> Gate:
    return Gate(database.dsn)


@pytest.fixture
async def cache(gate: Gate, clock: ManualClock, plans: Plans) -> AsyncIterator[KeyCache]:
    """A cache that follows nothing by itself: no listener, no poll but those a test makes."""
    cache = KeyCache(gate, clock)
    await cache.poll()
    yield cache
    await cache.close()


@pytest.fixture
async def follow() -> AsyncIterator[Follow]:
    """Make caches in real time, which are closed whatever becomes of the test."""
    made: list[KeyCache] = []

    def make(database: Database, poll_seconds: float = 0.01) -> KeyCache:
        made.append(KeyCache(database, SystemClock(), poll_seconds=poll_seconds))
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


@pytest.fixture
async def key(keys: Keys, account: Account, by: Actor) -> Key:
    return (await keys.create(account.id, NewKey(name="k"), by=by)).key


async def held(cache: KeyCache, key_id: UUID) -> KeyStatus | None:
    snapshot = await cache.get(key_id)
    return None if snapshot is None else snapshot.status


async def test_a_snapshot_is_what_the_guard_decides_by(
    cache: KeyCache, keys: Keys, accounts: Accounts, plans: Plans, by: Actor
) -> None:
    account = await accounts.create("rich@example.com", plan="pro", rate="7/second", by=by)
    expires_at = datetime(2100, 1, 1, tzinfo=UTC)
    new = NewKey(
        name="k",
        scopes=("RUN_ACTIONS",),
        allowed_actions=("shout",),
        cidrs=("203.0.113.0/24", "2001:db8::/32"),
        cap_units=3,
        metadata={"a": [1]},
        livemode=False,
        expires_at=expires_at,
        trusted_documents_only=True,
    )
    key = (await keys.create(account.id, new, by=by)).key
    account = await accounts.suspend(account.id, reason="unpaid", by=by)
    snapshot = await cache.get(key.id)
    assert snapshot is not None
    assert (snapshot.key_id, snapshot.account_id, snapshot.plan_slug) == (key.id, account.id, "pro")
    assert (snapshot.livemode, snapshot.name, snapshot.status) == (False, "k", KeyStatus.ACTIVE)
    assert (snapshot.scopes, snapshot.allowed_actions) == ({"RUN_ACTIONS"}, {"shout"})
    assert snapshot.networks == (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32"))
    assert (snapshot.metadata, snapshot.expires_at, snapshot.cap_units) == ({"a": [1]}, expires_at, 3)
    assert snapshot.trusted_documents_only
    assert (snapshot.key_epoch, snapshot.account_epoch) == (0, account.epoch)
    assert (snapshot.account_status, snapshot.plan_scopes) == ("SUSPENDED", {"RUN_ACTIONS"})
    assert snapshot.rates == parse_rates("7/second")
    assert [(stored.pepper_version, stored.not_after) for stored in snapshot.secrets] == [(2, None)]
    assert repr(snapshot.secrets[0].digest) not in repr(snapshot)


async def test_without_an_override_the_plan_decides(
    cache: KeyCache, keys: Keys, key: Key, accounts: Accounts, by: Actor
) -> None:
    snapshot = await cache.get(key.id)
    assert snapshot is not None
    assert snapshot.rates == parse_rates("10/second;100/minute")
    assert (snapshot.plan_scopes, snapshot.allowed_actions, snapshot.cap_units) == (None, None, None)
    unlimited = await accounts.create("unlimited@example.com", plan="pro", by=by)
    other = (await keys.create(unlimited.id, NewKey(name="k"), by=by)).key
    snapshot = await cache.get(other.id)
    assert snapshot is not None
    assert snapshot.rates == ()


async def test_a_snapshot_expires_by_the_clock_it_is_asked_with(
    cache: KeyCache, keys: Keys, account: Account, by: Actor, move_time: MoveTime
) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    key = (await keys.create(account.id, NewKey(name="k", expires_at=expires_at), by=by)).key
    snapshot = await cache.get(key.id)
    assert snapshot is not None
    assert snapshot.status_at(expires_at - timedelta(seconds=1)) is KeyStatus.ACTIVE
    assert snapshot.status_at(expires_at) is KeyStatus.EXPIRED
    assert replace(snapshot, status=KeyStatus.REVOKED).status_at(expires_at) is KeyStatus.REVOKED
    assert replace(snapshot, expires_at=None).status_at(expires_at) is KeyStatus.ACTIVE
    await move_time("2 hours")
    cache.invalidate(key.id)
    assert await held(cache, key.id) is KeyStatus.EXPIRED


async def test_a_hit_asks_nobody(cache: KeyCache, gate: Gate, key: Key) -> None:
    first = await cache.get(key.id)
    for _ in range(10):
        assert await cache.get(key.id) is first
        assert cache.hit(key.id) is first
    assert gate.readings == 1


async def test_a_missing_key_is_not_remembered_as_missing(
    cache: KeyCache, database: Database, key: Key
) -> None:
    assert await cache.get(uuid7()) is None
    assert len(cache) == 0


async def test_callers_for_one_key_share_one_reading(cache: KeyCache, gate: Gate, key: Key) -> None:
    found = await asyncio.gather(*(cache.get(key.id) for _ in range(20)))
    assert gate.readings == 1
    assert all(snapshot is found[0] for snapshot in found)


async def test_a_caller_that_goes_away_takes_the_answer_from_nobody(
    cache: KeyCache, gate: Gate, key: Key
) -> None:
    gate.is_open.clear()
    first, second = asyncio.create_task(cache.get(key.id)), asyncio.create_task(cache.get(key.id))
    await gate.reached(1)
    first.cancel()
    await asyncio.wait([first])
    gate.is_open.set()
    assert await second is not None
    assert gate.readings == 1


async def test_a_fill_sees_only_what_has_committed(
    cache: KeyCache, database: Database, keys: Keys, key: Key, by: Actor
) -> None:
    async with database.transaction():
        await keys.revoke(key.id, by=by)
        assert await held(cache, key.id) is KeyStatus.ACTIVE
    await cache.poll()
    assert await held(cache, key.id) is KeyStatus.REVOKED


CHANGES: dict[str, Callable[..., Awaitable[Any]]] = {
    "suspend": lambda s: s["keys"].suspend(s["key"].id, by=s["by"]),
    "revoke": lambda s: s["keys"].revoke(s["key"].id, by=s["by"]),
    "rotate": lambda s: s["keys"].rotate(s["key"].id, by=s["by"]),
    "suspend account": lambda s: s["accounts"].suspend(s["account"].id, reason="unpaid", by=s["by"]),
    "set plan": lambda s: s["accounts"].set_plan(s["account"].id, "pro", by=s["by"]),
    "set rate": lambda s: s["accounts"].set_rate(s["account"].id, "1/day", reason="x", by=s["by"]),
    "set quota": lambda s: s["accounts"].set_quota(s["account"].id, 1, reason="x", by=s["by"]),
    "apply plans": lambda s: s["change_plan"](),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_whose_notification_is_lost_is_seen_at_the_next_poll(
    cache: KeyCache,
    keys: Keys,
    accounts: Accounts,
    plans: Plans,
    account: Account,
    other: Account,
    key: Key,
    by: Actor,
    change: str,
) -> None:
    async def change_plan() -> None:
        free, pro = await plans.list()
        await plans.apply([replace(free, rate="1/hour"), pro], by=by)

    untouched_account = await accounts.create("pro@example.com", plan="pro", by=by)
    untouched = (await keys.create(untouched_account.id, NewKey(name="k"), by=by)).key
    before, standing = await cache.get(key.id), await cache.get(untouched.id)
    await CHANGES[change](
        {
            "keys": keys,
            "accounts": accounts,
            "account": account,
            "key": key,
            "by": by,
            "change_plan": change_plan,
        }
    )
    assert cache.hit(key.id) is before
    await cache.poll()
    assert cache.hit(key.id) is None
    assert cache.hit(untouched.id) is standing
    after = await cache.get(key.id)
    assert after is not None
    assert after != before


async def test_within_a_second_a_change_is_seen_even_when_nothing_was_heard(
    cache: KeyCache, clock: ManualClock, keys: Keys, key: Key, by: Actor
) -> None:
    assert await held(cache, key.id) is KeyStatus.ACTIVE
    await keys.revoke(key.id, by=by)
    clock.advance(1.0)
    assert not cache.is_trusted
    assert cache.hit(key.id) is None
    assert await held(cache, key.id) is KeyStatus.REVOKED


async def test_a_cache_that_is_not_trusted_reads_the_primary_for_every_call(
    cache: KeyCache, clock: ManualClock, gate: Gate, key: Key
) -> None:
    await cache.get(key.id)
    clock.advance(1.0)
    for _ in range(3):
        await cache.get(key.id)
    assert gate.readings == 4
    await cache.poll()
    assert cache.is_trusted
    await cache.get(key.id)
    assert gate.readings == 4


async def test_a_late_fill_cannot_resurrect_a_revoked_key(
    cache: KeyCache, gate: Gate, keys: Keys, key: Key, by: Actor
) -> None:
    gate.is_open.clear()
    late = asyncio.create_task(cache.get(key.id))
    await gate.reached(1)
    await keys.revoke(key.id, by=by)
    await cache.poll()
    gate.is_open.set()
    snapshot = await late
    assert snapshot is not None
    assert snapshot.status is KeyStatus.REVOKED
    assert gate.readings == 2
    assert cache.hit(key.id) is snapshot


async def test_a_fill_that_an_invalidation_overtook_is_read_again(
    cache: KeyCache, gate: Gate, key: Key
) -> None:
    gate.is_open.clear()
    late = asyncio.create_task(cache.get(key.id))
    await gate.reached(1)
    cache.invalidate(key.id)
    later = asyncio.create_task(cache.get(key.id))
    await gate.reached(2)
    gate.is_open.set()
    assert await later is not None
    assert await late is not None
    assert gate.readings == 3


async def test_who_comes_after_a_change_was_heard_of_never_gets_what_stood_before_it(
    cache: KeyCache, gate: Gate, database: Database, keys: Keys, key: Key, by: Actor
) -> None:
    async def overtake() -> None:
        if gate.readings < 3:
            await database.execute("UPDATE change_epoch SET epoch = epoch + 1")
            await cache.poll()
            return
        gate.after = None
        await keys.revoke(key.id, by=by)
        await cache.poll()
        later.append(asyncio.create_task(cache.get(key.id)))
        await gate.reached(4)

    later: list[asyncio.Task[Any]] = []
    gate.after = overtake
    # Its third and last reading is older than the revoke, and younger than its own call.
    assert await held(cache, key.id) is KeyStatus.ACTIVE
    assert (await later[0]).status is KeyStatus.REVOKED
    assert await held(cache, key.id) is KeyStatus.REVOKED


async def test_a_closed_cache_leaves_no_reading_under_way(cache: KeyCache, gate: Gate, key: Key) -> None:
    gate.is_open.clear()
    waiting = asyncio.create_task(cache.get(key.id))
    await gate.reached(1)
    cache.invalidate(key.id)
    await cache.close()
    await asyncio.wait([waiting], timeout=5)
    was_cancelled = waiting.done() and waiting.cancelled()
    gate.is_open.set()
    await asyncio.wait([waiting])
    assert was_cancelled


async def test_a_caller_that_waited_beyond_the_trust_reads_for_itself(
    cache: KeyCache, gate: Gate, clock: ManualClock, keys: Keys, key: Key, by: Actor
) -> None:
    gate.is_open.clear()
    late = asyncio.create_task(cache.get(key.id))
    await gate.reached(1)
    await keys.revoke(key.id, by=by)
    clock.advance(1.0)
    gate.is_open.set()
    snapshot = await late
    assert snapshot is not None
    assert snapshot.status is KeyStatus.REVOKED


async def test_under_changes_without_end_a_reading_is_returned_but_not_remembered(
    cache: KeyCache, gate: Gate, database: Database, key: Key
) -> None:
    async def overtake() -> None:
        await database.execute("UPDATE change_epoch SET epoch = epoch + 1")
        await cache.poll()

    gate.after = overtake
    assert await held(cache, key.id) is KeyStatus.ACTIVE
    assert gate.readings == 3
    assert cache.hit(key.id) is None


async def test_a_database_that_knows_less_than_before_empties_the_cache(
    cache: KeyCache, database: Database, key: Key
) -> None:
    await database.execute("UPDATE change_epoch SET epoch = epoch + 1")
    await cache.poll()
    await cache.get(key.id)
    await database.execute("UPDATE change_epoch SET epoch = epoch - 1")
    await cache.poll()
    assert len(cache) == 0
    await cache.get(key.id)
    assert cache.hit(key.id) is not None


async def test_very_many_changes_at_once_empty_the_cache(
    cache: KeyCache, database: Database, key: Key
) -> None:
    await cache.get(key.id)
    await database.execute("UPDATE change_epoch SET epoch = epoch + 1001")
    await cache.poll()
    assert len(cache) == 0


async def test_the_least_recently_used_snapshot_makes_room(
    gate: Gate, clock: ManualClock, keys: Keys, account: Account, by: Actor
) -> None:
    cache = KeyCache(gate, clock, max_entries=2)
    await cache.poll()
    one, two, three = [(await keys.create(account.id, NewKey(name="k"), by=by)).key.id for _ in range(3)]
    await cache.get(one)
    await cache.get(two)
    await cache.get(one)
    await cache.get(three)
    assert len(cache) == 2
    assert [cache.hit(key) is not None for key in (one, two, three)] == [True, False, True]


async def test_the_clock_is_the_databases(
    cache: KeyCache, clock: ManualClock, database: Database, move_time: MoveTime
) -> None:
    await move_time("1 year")
    await cache.poll()
    shown = cache.database_now()
    assert abs((await database.fetchval("SELECT af_now()") - shown).total_seconds()) < 60
    clock.advance(7.5)
    assert cache.database_now() - shown == timedelta(seconds=7.5)


async def test_without_a_poll_a_reading_tells_the_time(gate: Gate, clock: ManualClock, key: Key) -> None:
    cache = KeyCache(gate, clock)
    with pytest.raises(Unavailable, match="clock"):
        cache.database_now()
    await cache.get(key.id)
    assert cache.database_now().tzinfo is not None


async def test_an_open_cache_hears_of_a_change_without_waiting_for_the_poll(
    database: Database, keys: Keys, key: Key, by: Actor, follow: Follow
) -> None:
    cache = follow(database, 3_600)
    await cache.open()
    assert cache.is_listening
    assert cache.is_trusted
    await cache.get(key.id)
    await keys.revoke(key.id, by=by)
    await eventually(lambda: len(cache) == 0)


async def test_an_open_cache_polls_by_itself(database: Database, key: Key, follow: Follow) -> None:
    cache = follow(database)
    await cache.open()
    await cache.get(key.id)
    # A change that no notification tells of.
    await database.execute("UPDATE api_key SET epoch = 1 + (SELECT epoch FROM change_epoch)")
    await database.execute("UPDATE change_epoch SET epoch = epoch + 1")
    await eventually(lambda: len(cache) == 0)


async def test_a_listener_that_was_ended_is_replaced(
    database: Database, keys: Keys, key: Key, by: Actor, follow: Follow
) -> None:
    cache = follow(database)
    await cache.open()
    lost = cache._listener
    await database.execute("SELECT pg_terminate_backend($1)", lost.get_server_pid())
    await eventually(lambda: cache.is_listening and cache._listener is not lost)
    await eventually(lambda: cache.is_trusted)


async def test_when_listening_is_impossible_the_poll_goes_on(
    database: Database, key: Key, follow: Follow
) -> None:
    class Deaf(Database):
        async def connect(self) -> asyncpg.Connection:
            raise Unavailable

    cache = follow(Deaf(database.dsn))
    await cache.open()
    await eventually(lambda: cache.is_trusted)
    assert not cache.is_listening
    await cache.get(key.id)
    await database.execute("UPDATE change_epoch SET epoch = epoch + 1001")
    await eventually(lambda: len(cache) == 0)


async def test_a_listener_that_fails_to_listen_leaves_no_connection(
    database: Database, follow: Follow
) -> None:
    class Mute(Database):
        made: list[asyncpg.Connection]

        async def connect(self) -> asyncpg.Connection:
            connection = await super().connect()
            self.made.append(connection)
            await connection.close()
            return connection

    mute = Mute(database.dsn)
    mute.made = []
    cache = follow(mute)
    with pytest.raises(Unavailable):
        await cache.listen()
    assert not cache.is_listening
    assert [connection.is_closed() for connection in mute.made] == [True]


async def test_a_database_that_is_gone_is_unavailable_and_never_trusted(
    key: Key, distant: Database, line: Any, clock: ManualClock
) -> None:
    cache = KeyCache(distant, clock)
    await cache.poll()
    await cache.get(key.id)
    line.cut()
    # Within the second the answer of the last poll still holds.
    assert await held(cache, key.id) is KeyStatus.ACTIVE
    with pytest.raises(Unavailable):
        await cache.poll()
    with pytest.raises(Unavailable):
        await cache.get(uuid7())
    clock.advance(1.0)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await cache.get(key.id)
    line.mend()
    assert await held(cache, key.id) is KeyStatus.ACTIVE
    await cache.close()


async def test_every_caller_learns_that_the_database_is_gone(
    key: Key, distant: Database, line: Any, clock: ManualClock
) -> None:
    cache = KeyCache(distant, clock)
    await cache.poll()
    line.cut()
    answers = await asyncio.gather(*(cache.get(key.id) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 5
    await cache.close()


async def test_the_cache_comes_back_with_the_database(
    key: Key,
    keys: Keys,
    by: Actor,
    distant: Database,
    line: Any,
    caplog: pytest.LogCaptureFixture,
    follow: Follow,
) -> None:
    caplog.set_level(logging.INFO)
    cache = follow(distant)
    await cache.open()
    assert await held(cache, key.id) is KeyStatus.ACTIVE
    line.cut()
    await eventually(lambda: not cache.is_trusted)
    assert not cache.is_listening
    with pytest.raises(Unavailable):
        await cache.get(key.id)
    line.mend()
    await eventually(lambda: cache.is_listening and cache.is_trusted)
    await keys.revoke(key.id, by=by)
    await eventually(lambda: cache.hit(key.id) is None)
    assert await held(cache, key.id) is KeyStatus.REVOKED
    said = [
        record.getMessage().split(";")[0] for record in caplog.records if "followed" in record.getMessage()
    ]
    assert said == ["key changes cannot be followed", "key changes are followed again"]


async def test_a_cache_opened_before_the_database_is_there_works_once_it_is(
    key: Key, distant: Database, line: Any, follow: Follow
) -> None:
    line.cut()
    cache = follow(distant)
    await cache.open()
    assert not cache.is_trusted
    with pytest.raises(Unavailable):
        await cache.get(key.id)
    line.mend()
    await eventually(lambda: cache.is_listening and cache.is_trusted)
    assert await held(cache, key.id) is KeyStatus.ACTIVE


async def test_a_database_that_does_not_answer_keeps_the_cache_untrusted(
    database: Database, key: Key, ledger: asyncpg.Connection, caplog: pytest.LogCaptureFixture, follow: Follow
) -> None:
    cache = follow(database)
    await cache.open()
    async with ledger.transaction():
        await ledger.execute("LOCK TABLE change_epoch IN ACCESS EXCLUSIVE MODE")
        await eventually(lambda: "The database does not answer" in caplog.text)
        assert not cache.is_trusted
    await eventually(lambda: cache.is_trusted)


async def test_whatever_goes_wrong_the_cache_follows_again(
    database: Database, key: Key, follow: Follow
) -> None:
    epoch = await database.fetchval("DELETE FROM change_epoch RETURNING epoch")
    cache = follow(database)
    try:
        with pytest.raises(RuntimeError, match="migrations"):
            await cache.get(key.id)
        with pytest.raises(RuntimeError, match="migrations"):
            await cache.open()
    finally:
        await database.execute("INSERT INTO change_epoch (id, epoch) VALUES (1, $1)", epoch)
    await cache.open()
    try:
        await database.execute("DELETE FROM change_epoch")
        await eventually(lambda: not cache.is_trusted)
    finally:
        await database.execute("INSERT INTO change_epoch (id, epoch) VALUES (1, $1)", epoch)
    await eventually(lambda: cache.is_trusted)


async def test_a_closed_cache_leaves_no_task_and_no_connection_behind(
    gate: Gate, key: Key, clock: ManualClock
) -> None:
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    before, tasks = await gate.fetchval(sessions), asyncio.all_tasks()
    cache = KeyCache(gate, clock)
    await cache.open()
    gate.is_open.clear()
    waiting = asyncio.create_task(cache.get(key.id))
    await gate.reached(1)
    await cache.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert asyncio.all_tasks() == tasks
    assert not cache.is_listening
    assert not cache.is_trusted
    async with asyncio.timeout(20):
        while await gate.fetchval(sessions) > before:
            await asyncio.sleep(0.01)
    await cache.close()
