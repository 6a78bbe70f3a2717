"""The ledger's promises: exact, durable, revocable, and nothing charged twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from api_factory.errors import (
    AccountSuspended,
    InvalidKey,
    KeyExpired,
    KeySuspended,
    QuotaExceeded,
    Unavailable,
)
from api_factory.ids import uuid7
from api_factory.usage import Filter, Ledger, Line, RegisteredWorker, Stale

if TYPE_CHECKING:
    from tests.usage.conftest import Ground


def one(units: int = 1, action: str = "echo", *, failed: bool = False) -> list[Line]:
    return [Line(action, units, failed)]


async def test_a_charge_moves_the_counter_and_leaves_its_event(ground: Ground) -> None:
    account = await ground.account(100)
    payer = await ground.payer(account)
    standing = await ground.ledger.charge(payer, one(3), "request-1")
    assert (standing.included, standing.used, standing.reserved, standing.remaining) == (100, 3, 0, 97)
    assert 0 < standing.reset_seconds <= 31 * 86_400
    assert standing.period_start < standing.period_end
    events = await ground.db.fetch("SELECT units, calls, errors, request_ids, request_units FROM usage_event")
    assert [tuple(row) for row in events] == [(3, 1, 0, ["request-1"], [3])]
    assert await ground.drift() == 0


async def test_two_hundred_racers_for_a_hundred_units_get_exactly_a_hundred(ground: Ground) -> None:
    account = await ground.account(100)
    payers = [await ground.payer(account) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(ground.ledger.charge(payers[n % 4], one(), f"r{n}") for n in range(200)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, QuotaExceeded)]
    assert (len(outcomes) - len(refused), len(refused)) == (100, 100)
    assert await ground.used(account) == (100, 0)
    assert await ground.drift() == 0


async def test_racers_on_several_ledgers_never_exceed_the_quota(ground: Ground) -> None:
    account = await ground.account(100)
    payer = await ground.payer(account, cap_units=80)
    ledgers = [Ledger(ground.db.connect, ground.worker) for _ in range(3)]
    for ledger in ledgers:
        await ledger.open()
    try:
        outcomes = await asyncio.gather(
            *(ledgers[n % 3].charge(payer, one(), f"r{n}") for n in range(150)), return_exceptions=True
        )
    finally:
        for ledger in ledgers:
            await ledger.close()
    passed = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    assert len(passed) == 80
    assert all(isinstance(o, QuotaExceeded) for o in outcomes if isinstance(o, Exception))
    assert await ground.used(account) == (80, 0)
    assert await ground.drift() == 0


async def test_a_big_charge_that_does_not_fit_lets_a_small_one_behind_it_pass(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    await ground.ledger.charge(payer, one(8), "first")
    outcomes = await asyncio.gather(
        ground.ledger.charge(payer, one(5), "big"),
        ground.ledger.charge(payer, one(2), "small"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], QuotaExceeded)
    assert outcomes[0].extensions == {"cost": 5, "limit": 10, "used": 8, "remaining": 2, "quota": "account"}
    assert await ground.used(account) == (10, 0)


async def test_a_refused_charge_leaves_no_trace(ground: Ground) -> None:
    account = await ground.account(2)
    payer = await ground.payer(account)
    with pytest.raises(QuotaExceeded) as refusal:
        await ground.ledger.charge(payer, one(3), "r")
    assert refusal.value.retry_after_seconds is not None
    assert refusal.value.retry_after_seconds > 0
    assert await ground.used(account) == (0, 0)
    assert await ground.db.fetchval("SELECT count(*) FROM usage_event") == 0


async def test_a_failed_call_is_counted_and_costs_nothing_even_without_quota(ground: Ground) -> None:
    account = await ground.account(0)
    payer = await ground.payer(account)
    await ground.ledger.charge(payer, one(0, failed=True), "r")
    assert await ground.used(account) == (0, 0)
    row = await ground.db.fetchrow("SELECT calls, errors, units FROM usage_event")
    assert row is not None
    assert tuple(row) == (1, 1, 0)
    assert await ground.drift() == 0


async def test_all_lines_of_an_operation_are_one_charge(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    with pytest.raises(QuotaExceeded):
        await ground.ledger.charge(payer, [Line("a", 6), Line("b", 5)], "r1")
    assert await ground.used(account) == (0, 0)
    await ground.ledger.charge(payer, [Line("a", 6), Line("b", 4), Line("b", 0, True)], "r2")
    rows = await ground.db.fetch("SELECT action, units, calls, errors FROM usage_event ORDER BY action")
    assert [tuple(row) for row in rows] == [("a", 6, 1, 0), ("b", 4, 2, 1)]
    assert await ground.drift() == 0


async def test_a_key_cap_holds_beside_the_account_quota(ground: Ground) -> None:
    account = await ground.account(100)
    capped, free = await ground.payer(account, cap_units=5), await ground.payer(account)
    await ground.ledger.charge(capped, one(5), "r1")
    with pytest.raises(QuotaExceeded) as refusal:
        await ground.ledger.charge(capped, one(1), "r2")
    assert refusal.value.extensions["quota"] == "key"
    standing = await ground.ledger.charge(free, one(95), "r3")
    assert standing.remaining == 0
    assert await ground.used(account) == (100, 0)
    assert await ground.drift() == 0


async def test_test_keys_use_their_own_quota(ground: Ground) -> None:
    account = await ground.account(5, test_units=3)
    live, test = await ground.payer(account), await ground.payer(account, livemode=False)
    await ground.ledger.charge(test, one(3), "t1")
    with pytest.raises(QuotaExceeded):
        await ground.ledger.charge(test, one(1), "t2")
    await ground.ledger.charge(live, one(5), "l1")
    assert await ground.used(account) == (5, 0)
    assert await ground.used(account, livemode=False) == (3, 0)


async def test_a_soft_plan_counts_past_its_quota(ground: Ground) -> None:
    account = await ground.account(5, overage="soft")
    payer = await ground.payer(account)
    standing = await ground.ledger.charge(payer, one(9), "r")
    assert (standing.included, standing.used, standing.remaining) == (5, 9, 0)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("UPDATE api_key SET status = 'REVOKED'", InvalidKey),
        ("UPDATE api_key SET status = 'SUSPENDED'", KeySuspended),
        ("UPDATE api_key SET expires_at = af_now()", KeyExpired),
        ("UPDATE account SET status = 'SUSPENDED'", AccountSuspended),
        ("UPDATE api_key SET epoch = 7", Stale),
        ("UPDATE account SET epoch = 7", Stale),
        ("UPDATE plan SET epoch = 7", Stale),
        ("DELETE FROM api_key", InvalidKey),
    ],
)
@pytest.mark.parametrize("kind", ["charge", "reserve"])
async def test_what_changed_since_the_decision_is_seen_at_the_commit(
    ground: Ground, change: str, refusal: type[Exception], kind: str
) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    await ground.db.execute(change)
    ledger = ground.ledger
    attempt = ledger.charge(payer, one(), "r") if kind == "charge" else ledger.reserve(payer, 1, "r")
    with pytest.raises(refusal):
        await attempt
    assert await ground.used(account) == (0, 0)
    assert await ground.drift() == 0


async def test_a_rotated_secret_past_its_grace_cannot_pay(ground: Ground) -> None:
    payer = await ground.payer(await ground.account(10))
    now = await ground.db.fetchval("SELECT af_now()")
    with pytest.raises(KeyExpired):
        await ground.ledger.charge(payer._replace(not_after=now), one(), "r")


async def test_a_charge_waits_for_a_revoke_under_way_and_then_sees_it(ground: Ground) -> None:
    from api_factory import changes

    account = await ground.account(10)
    payer = await ground.payer(account)
    await ground.ledger.charge(payer, one(), "r0")
    async with ground.db.transaction():
        await changes.lock_account(ground.db, account)
        racing = asyncio.create_task(ground.ledger.charge(payer, one(), "r1"))
        await ground.db.execute("UPDATE api_key SET status = 'REVOKED' WHERE id = $1", payer.key_id)
        done, _ = await asyncio.wait({racing}, timeout=0.2)
        assert not done
    with pytest.raises(InvalidKey):
        await racing
    assert await ground.used(account) == (1, 0)


async def test_a_reservation_holds_units_until_it_is_settled(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account, cap_units=10)
    reservation = await ground.ledger.reserve(payer, 7, "r1")
    assert await ground.used(account) == (0, 7)
    with pytest.raises(QuotaExceeded):
        await ground.ledger.charge(payer, one(4), "r2")
    standing = await ground.ledger.settle(reservation, payer, one(5))
    assert (standing.used, standing.reserved) == (5, 0)
    assert await ground.used(account) == (5, 0)
    assert await ground.drift() == 0


async def test_a_settled_reservation_cannot_be_settled_or_released_again(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    reservation = await ground.ledger.reserve(payer, 4, "r1")
    await ground.ledger.settle(reservation, payer, one(4))
    with pytest.raises(Unavailable):
        await ground.ledger.settle(reservation, payer, one(4))
    await ground.ledger.release(reservation, payer)
    assert await ground.used(account) == (4, 0)
    assert await ground.drift() == 0


async def test_a_release_gives_everything_back_even_for_a_revoked_key(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account, cap_units=5)
    reservation = await ground.ledger.reserve(payer, 4, "r1")
    await ground.db.execute("UPDATE api_key SET status = 'REVOKED'")
    await ground.ledger.release(reservation, payer)
    assert await ground.used(account) == (0, 0)
    assert await ground.drift() == 0


async def test_a_key_revoked_while_its_call_ran_is_not_charged(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    reservation = await ground.ledger.reserve(payer, 4, "r1")
    await ground.db.execute("UPDATE api_key SET status = 'REVOKED'")
    with pytest.raises(InvalidKey):
        await ground.ledger.settle(reservation, payer, one(4))
    assert await ground.used(account) == (0, 0)
    assert await ground.drift() == 0


async def test_a_stale_settlement_leaves_the_reservation_open(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    reservation = await ground.ledger.reserve(payer, 4, "r1")
    await ground.db.execute("UPDATE api_key SET epoch = 3")
    with pytest.raises(Stale):
        await ground.ledger.settle(reservation, payer, one(4))
    assert await ground.used(account) == (0, 4)
    standing = await ground.ledger.settle(reservation, payer._replace(key_epoch=3), one(4))
    assert (standing.used, standing.reserved) == (4, 0)


async def test_a_settlement_cannot_charge_more_than_was_reserved(ground: Ground) -> None:
    from api_factory.errors import InternalError

    account = await ground.account(10)
    payer = await ground.payer(account)
    reservation = await ground.ledger.reserve(payer, 1, "r1")
    with pytest.raises(InternalError):
        await ground.ledger.settle(reservation, payer, one(2))
    await ground.ledger.release_orphans()
    assert await ground.used(account) == (0, 0)


async def test_one_bad_item_fails_alone(ground: Ground) -> None:
    from api_factory.errors import InternalError

    account = await ground.account(10)
    payer = await ground.payer(account)
    reservation = await ground.ledger.reserve(payer, 1, "r1")
    outcomes = await asyncio.gather(
        ground.ledger.charge(payer, one(), "a"),
        ground.ledger.settle(reservation, payer, one(2)),
        ground.ledger.charge(payer, one(), "b"),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "QuotaStanding",
        "InternalError",
        "QuotaStanding",
    ]
    assert isinstance(outcomes[1], InternalError)
    assert (await ground.used(account))[0] == 2


async def test_the_reservations_of_a_dead_worker_are_given_back(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account, cap_units=9)
    other = RegisteredWorker(ground.db)
    await other.register()
    ledger = Ledger(ground.db.connect, other)
    await ledger.open()
    reservation = await ledger.reserve(payer, 6, "r1")
    kept = await ground.ledger.reserve(payer, 2, "r2")
    await ground.db.execute(
        "UPDATE worker SET heartbeat_at = af_now() - interval '1 minute' WHERE id = $1", other.id
    )
    await ground.worker.reap()
    assert await ground.used(account) == (0, 2)
    with pytest.raises(Unavailable):
        await ledger.settle(reservation, payer, one(6))
    await ledger.close()
    await ground.ledger.settle(kept, payer, one(2))
    assert await ground.used(account) == (2, 0)
    assert await ground.drift() == 0


async def test_a_worker_that_was_given_up_registers_anew(ground: Ground) -> None:
    payer = await ground.payer(await ground.account(10))
    before = ground.worker.id
    await ground.db.execute("DELETE FROM worker")
    reservation = await ground.ledger.reserve(payer, 1, "r1")
    assert ground.worker.id != before
    standing = await ground.ledger.settle(reservation, payer, one())
    assert standing.used == 1
    await ground.db.execute("DELETE FROM worker")
    await ground.worker.beat()
    assert await ground.db.fetchval("SELECT count(*) FROM worker WHERE id = $1", ground.worker.id) == 1
    await ground.worker.sign_off()
    assert await ground.db.fetchval("SELECT count(*) FROM worker") == 0


async def test_a_new_period_begins_at_nothing_without_any_reset(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    await ground.ledger.charge(payer, one(10), "r1")
    held_over = await ground.ledger.reserve(await ground.payer(await ground.account(5)), 2, "r2")
    await ground.set_time("1 month")
    await ground.usage.make_partitions()
    standing = await ground.ledger.charge(payer, one(4), "r3")
    assert (standing.used, standing.remaining) == (4, 6)
    # What was reserved in the old period is settled in the old period.
    owner = await ground.db.fetchrow("SELECT * FROM reservation WHERE id = $1", held_over.id)
    assert owner is not None
    payer_over = payer._replace(account_id=owner["account_id"], key_id=owner["key_id"])
    await ground.ledger.settle(held_over, payer_over, one(2))
    assert await ground.used(owner["account_id"]) == (0, 0)
    assert await ground.drift() == 0
    rows = await ground.db.fetch(
        "SELECT used FROM quota WHERE account_id = $1 ORDER BY period_start", account
    )
    assert [row["used"] for row in rows] == [10, 4]


@pytest.mark.parametrize(
    ("anchor", "moment", "starts", "ends"),
    [
        ("2026-01-01", "2026-01-31 23:59:59.999", "2026-01-01", "2026-02-01"),
        ("2026-01-01", "2026-02-01", "2026-02-01", "2026-03-01"),
        ("2026-01-31", "2026-02-27 23:59", "2026-01-31", "2026-02-28"),
        ("2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        ("2026-01-31", "2026-03-30", "2026-02-28", "2026-03-31"),
        ("2026-01-31", "2026-03-31", "2026-03-31", "2026-04-30"),
        ("2024-02-29 12:00", "2025-02-28 12:00", "2025-02-28 12:00", "2025-03-29 12:00"),
        ("2026-05-10", "2026-04-01", "2026-03-10", "2026-04-10"),
    ],
)
async def test_periods_are_months_from_the_anchor(
    ground: Ground, anchor: str, moment: str, starts: str, ends: str
) -> None:
    row = await ground.db.fetchrow(
        "SELECT starts = ($3::text || ' UTC')::timestamptz AS starts, "
        "ends = ($4::text || ' UTC')::timestamptz AS ends "
        "FROM af_period(($1::text || ' UTC')::timestamptz, ($2::text || ' UTC')::timestamptz)",
        anchor,
        moment,
        starts,
        ends,
    )
    assert row is not None
    assert (row["starts"], row["ends"]) == (True, True)


async def test_a_downgrade_below_what_is_used_refuses_new_units_and_takes_none_back(ground: Ground) -> None:
    account = await ground.account(100)
    payer = await ground.payer(account)
    await ground.ledger.charge(payer, one(60), "r1")
    await ground.db.execute("UPDATE plan SET quota_units = 50")
    with pytest.raises(QuotaExceeded):
        await ground.ledger.charge(payer, one(1), "r2")
    standing = await ground.usage.standing(account)
    assert (standing.used, standing.remaining, standing.is_exhausted) == (60, 0, True)
    await ground.db.execute("UPDATE plan SET quota_units = 61")
    await ground.ledger.charge(payer, one(1), "r3")
    assert await ground.used(account) == (61, 0)


async def test_the_table_itself_refuses_more_than_the_limit(ground: Ground) -> None:
    import asyncpg

    account = await ground.account(5)
    await ground.ledger.charge(await ground.payer(account), one(5), "r1")
    with pytest.raises(asyncpg.CheckViolationError):
        await ground.db.execute("UPDATE quota SET used = 6")


async def test_verification_finds_a_planted_difference(ground: Ground) -> None:
    account = await ground.account(50)
    payer = await ground.payer(account, cap_units=40)
    for n in range(3):
        await ground.ledger.charge(payer, one(2), f"r{n}")
    clean = await ground.usage.verify()
    assert (clean.drift, clean.counters, clean.calls, clean.differences) == (0, 2, 3, ())
    await ground.db.execute("UPDATE quota SET used = used + 3 WHERE key_id <> $1", uuid7().__class__(int=0))
    await ground.db.execute("UPDATE quota SET reserved = 1 WHERE key_id = $1", uuid7().__class__(int=0))
    found = await ground.usage.verify()
    assert found.drift == 4
    assert {(d.key_id is None, d.used, d.events, d.reserved, d.held) for d in found.differences} == {
        (False, 9, 6, 0, 0),
        (True, 6, 6, 1, 0),
    }


async def test_a_report_sums_events_by_bucket_action_and_key(ground: Ground) -> None:
    account = await ground.account(50)
    first, second = await ground.payer(account), await ground.payer(account)
    await ground.ledger.charge(first, one(2, "a"), "r1")
    await ground.ledger.charge(first, one(0, "a", failed=True), "r2")
    await ground.ledger.charge(second, one(5, "b"), "r3")
    until = await ground.db.fetchval("SELECT af_now() + interval '1 hour'")
    since = await ground.db.fetchval("SELECT af_now() - interval '1 hour'")
    report = await ground.usage.report(account, Filter(since, until), "HOUR")
    assert (report.calls, report.errors, report.units) == (3, 1, 7)
    assert [(b.action, b.calls, b.errors, b.units) for b in report.buckets] == [
        ("a", 2, 1, 2),
        ("b", 1, 0, 5),
    ]
    only = await ground.usage.report(account, Filter(since, until, key_ids=(second.key_id,)), "DAY")
    assert only.units == 5
    only = await ground.usage.report(account, Filter(since, until, actions=("a",)), "MONTH")
    assert only.units == 2


async def test_an_impossible_range_is_refused(ground: Ground) -> None:
    from datetime import UTC, datetime

    from api_factory.errors import BadUserInput, NotFound

    account = await ground.account()
    now = datetime.now(UTC)
    early, late = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    for since, until in ((now, now), (now.replace(tzinfo=None), now), (early, now), (now, late)):
        with pytest.raises(BadUserInput):
            await ground.usage.report(account, Filter(since, until), "HOUR")
    for action in ("\0", "x" * 300):
        with pytest.raises(BadUserInput):
            await ground.usage.report(account, Filter(now, now.replace(year=8000), actions=(action,)))
    with pytest.raises(NotFound):
        await ground.usage.standing(uuid7())


async def test_partitions_take_over_what_fell_into_the_default_one(ground: Ground) -> None:
    account = await ground.account()
    payer = await ground.payer(account)
    await ground.set_time("7 months")
    await ground.ledger.charge(payer, one(2), "r1")
    assert await ground.db.fetchval("SELECT count(*) FROM usage_event_default") == 1
    assert await ground.usage.make_partitions(1) == 2
    assert await ground.usage.make_partitions(1) == 0
    assert await ground.db.fetchval("SELECT count(*) FROM usage_event_default") == 0
    assert await ground.drift() == 0


async def test_a_full_queue_refuses_at_once(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    ledger = Ledger(ground.db.connect, ground.worker, queue_limit=2)
    with pytest.raises(Unavailable):
        await ledger.charge(payer, one(), "not open")
    await ledger.open()
    outcomes = await asyncio.gather(
        *(ledger.charge(payer, one(), f"r{n}") for n in range(3)), return_exceptions=True
    )
    assert [isinstance(outcome, Unavailable) for outcome in outcomes] == [False, False, True]
    await ledger.close()


async def test_a_killed_backend_fails_its_waiters_and_the_next_charge_reconnects(ground: Ground) -> None:
    account = await ground.account()
    payer = await ground.payer(account)
    await ground.ledger.charge(payer, one(), "r1")
    await ground.db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE 'SELECT * FROM ledger_commit%'"
    )
    with pytest.raises(Unavailable):
        await ground.ledger.charge(payer, one(), "r2")
    await asyncio.sleep(0.3)
    standing = await ground.ledger.charge(payer, one(), "r3")
    assert standing.used == 2
    assert await ground.drift() == 0


async def test_a_reservation_whose_caller_left_is_released(ground: Ground) -> None:
    account = await ground.account()
    payer = await ground.payer(account)
    blocker = await ground.db.connect()
    await blocker.execute("BEGIN")
    await blocker.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))".replace("$1", f"'{account}'")
    )
    leaving = asyncio.create_task(ground.ledger.reserve(payer, 5, "r1"))
    await asyncio.sleep(0.1)
    leaving.cancel()
    await asyncio.wait({leaving})
    await blocker.execute("COMMIT")
    await blocker.close()
    await ground.ledger.charge(payer, one(), "r2")
    assert await ground.used(account) == (1, 5)
    await ground.ledger.release_orphans()
    assert await ground.used(account) == (1, 0)
    assert await ground.drift() == 0


async def test_closing_commits_what_was_queued(ground: Ground) -> None:
    account = await ground.account()
    payer = await ground.payer(account)
    ledger = Ledger(ground.db.connect, ground.worker)
    await ledger.open()
    racing = [asyncio.create_task(ledger.charge(payer, one(), f"r{n}")) for n in range(20)]
    await asyncio.sleep(0)
    await ledger.close()
    await asyncio.gather(*racing)
    assert await ground.used(account) == (20, 0)


async def test_a_report_of_too_many_buckets_is_refused(ground: Ground) -> None:
    from datetime import timedelta

    from api_factory.errors import BadUserInput

    account = await ground.account()
    payer = await ground.payer(account)
    await ground.db.execute(
        "INSERT INTO usage_event SELECT af_now(), $1, $2, true, af_now(), 'a' || n, 1, 1, 0, '{r}', '{1}' "
        "FROM generate_series(1, 2001) AS n",
        account,
        payer.key_id,
    )
    now = await ground.db.fetchval("SELECT af_now()")
    with pytest.raises(BadUserInput, match="too many buckets"):
        await ground.usage.report(account, Filter(now - timedelta(hours=1), now + timedelta(hours=1)), "HOUR")


async def test_what_is_reserved_cannot_be_charged_by_another(ground: Ground) -> None:
    account = await ground.account(10)
    payer, capped = await ground.payer(account), await ground.payer(account, cap_units=5)
    await ground.ledger.reserve(payer, 4, "r1")
    with pytest.raises(QuotaExceeded):
        await ground.ledger.charge(payer, one(7), "r2")
    await ground.ledger.reserve(capped, 4, "r3")
    with pytest.raises(QuotaExceeded) as refusal:
        await ground.ledger.charge(capped, one(2), "r4")
    assert refusal.value.extensions["quota"] == "key"
    assert await ground.used(account) == (0, 8)


async def test_closing_a_reservation_twice_in_one_batch_gives_it_back_once(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    first, second = await ground.ledger.reserve(payer, 4, "r1"), await ground.ledger.reserve(payer, 4, "r2")
    await asyncio.gather(ground.ledger.release(first, payer), ground.ledger.release(first, payer))
    assert await ground.used(account) == (0, 4)
    outcomes = await asyncio.gather(
        ground.ledger.settle(second, payer, one(3)),
        ground.ledger.settle(second, payer, one(3)),
        ground.ledger.release(second, payer),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], Unavailable)
    assert await ground.used(account) == (3, 0)
    assert await ground.drift() == 0


async def test_a_reservation_is_settled_by_the_worker_that_holds_it_only(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    reservation = await ground.ledger.reserve(payer, 4, "r1")
    with pytest.raises(Unavailable):
        await ground.ledger.settle(replace(reservation, worker_id=uuid7()), payer, one(4))
    await ground.ledger.release(replace(reservation, worker_id=uuid7()), payer)
    assert await ground.used(account) == (0, 4)


async def test_a_key_cannot_pay_in_the_other_mode(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)
    with pytest.raises(InvalidKey):
        await ground.ledger.charge(payer._replace(livemode=False), one(), "r")


async def test_a_heartbeat_renews_the_lease(ground: Ground) -> None:
    account = await ground.account(10)
    reservation = await ground.ledger.reserve(await ground.payer(account), 4, "r1")
    await ground.db.execute("UPDATE worker SET heartbeat_at = af_now() - interval '1 minute'")
    await ground.worker.beat()
    await ground.worker.reap()
    assert reservation.worker_id == ground.worker.id
    assert await ground.used(account) == (0, 4)


async def test_a_burst_after_a_lost_lease_shares_one_new_identity(ground: Ground) -> None:
    account = await ground.account(100)
    payer = await ground.payer(account)
    await ground.db.execute("DELETE FROM worker")
    reservations = await asyncio.gather(*(ground.ledger.reserve(payer, 5, f"r{n}") for n in range(6)))
    assert await ground.db.fetchval("SELECT count(*) FROM worker") == 1
    for reservation in reservations:
        await ground.ledger.settle(reservation, payer, one(5))
    assert await ground.used(account) == (30, 0)


async def test_one_orphan_that_cannot_be_released_does_not_keep_the_others(ground: Ground) -> None:
    from api_factory.errors import InternalError

    account = await ground.account(10)
    payer = await ground.payer(account)
    bad, good = await ground.ledger.reserve(payer, 2, "r1"), await ground.ledger.reserve(payer, 3, "r2")
    for reservation in (bad, good):
        with pytest.raises(InternalError):
            await ground.ledger.settle(reservation, payer, one(9))
    await ground.db.execute(
        "ALTER TABLE reservation ADD CONSTRAINT no_release CHECK (units <> 2 OR state = 'open')"
    )
    await ground.ledger.release_orphans()
    assert await ground.used(account) == (0, 2)
    await ground.db.execute("ALTER TABLE reservation DROP CONSTRAINT no_release")
    await ground.ledger.release_orphans()
    assert await ground.used(account) == (0, 0)


async def test_a_failing_observer_loses_no_answer(ground: Ground) -> None:
    account = await ground.account(10)
    payer = await ground.payer(account)

    def full_disk(seconds: float, size: int) -> None:
        raise OSError("no space left")

    ledger = Ledger(ground.db.connect, ground.worker, observe=full_disk)
    await ledger.open()
    for n in range(2):
        await ledger.charge(payer, one(), f"r{n}")
    await ledger.close()
    assert await ground.used(account) == (2, 0)


async def test_a_plan_that_was_changed_holds_for_every_later_commit(ground: Ground) -> None:
    from api_factory import changes

    account = await ground.account(100)
    payer = await ground.payer(account)
    async with ground.db.transaction():
        await changes.lock_plans(ground.db)
        racing = asyncio.create_task(ground.ledger.charge(payer, one(60), "r"))
        await ground.db.execute("UPDATE plan SET quota_units = 20")
        done, _ = await asyncio.wait({racing}, timeout=0.2)
        assert not done
    with pytest.raises(QuotaExceeded):
        await racing


async def test_accounts_over_quota_are_judged_by_the_quota_they_have_now(ground: Ground) -> None:
    huge = await ground.account(2**62)
    await ground.ledger.charge(await ground.payer(huge), one(), "r0")
    account = await ground.account(100)
    await ground.ledger.charge(await ground.payer(account), one(20), "r1")
    assert await ground.usage.accounts_over_quota() == {"80": 0, "100": 0}
    await ground.db.execute("UPDATE account SET quota_units = 10 WHERE id = $1", account)
    assert await ground.usage.accounts_over_quota() == {"80": 1, "100": 1}
