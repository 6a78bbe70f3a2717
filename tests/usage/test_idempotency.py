"""Idempotency-Key, at the ledger: one charge and one outcome, whoever dies or comes back when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from api_factory.errors import (
    BadUserInput,
    IdempotencyConflict,
    IdempotencyMismatch,
    IdempotencyOutcomeNotKept,
    QuotaExceeded,
    Unavailable,
)
from api_factory.usage import (
    Entry,
    Idempotency,
    IdempotencyRequest,
    Ledger,
    Line,
    Outcome,
    Payer,
    RegisteredWorker,
    Stale,
    idempotency_request,
)

if TYPE_CHECKING:
    from tests.usage.conftest import Ground

ONE = [Line("echo", 1)]
REQUEST = IdempotencyRequest("order-1", b"payload")
OUTCOME = Outcome(200, "OK", "application/json", b'{"data":"\xc3\xa4 \\u0000"}', "request-1")
DAY = 86_400.0
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def kept_by(ground: Ground, worker: RegisteredWorker | None = None, **options: float) -> Idempotency:
    known: dict[str, float] = {"ttl_seconds": DAY, "longest_seconds": 90.0, **options}
    return Idempotency(ground.db, worker or ground.worker, **known)  # type: ignore[arg-type]


async def begun(idempotency: Idempotency, payer: Payer, request: IdempotencyRequest = REQUEST) -> Entry:
    entry = await idempotency.begin(request, payer, "request-1")
    assert isinstance(entry, Entry)
    return entry


async def states(ground: Ground) -> list[str]:
    return [row["state"] for row in await ground.db.fetch("SELECT state FROM idempotency ORDER BY name")]


async def give_up(ground: Ground, worker: RegisteredWorker) -> None:
    """Let a worker's lease pass, as when its process was killed or paused."""
    await ground.db.execute(
        "UPDATE worker SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = $1", worker.id
    )
    await ground.worker.reap()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (' "a b; c, d" ', "a b; c, d"),
        (r'"say \"hi\" \\ bye"', r"say \"hi\" \ bye".replace('\\"', '"')),
        ("order:42/a+b=~!#$%&'()*-.^_`|{}<>?@[]", "order:42/a+b=~!#$%&'()*-.^_`|{}<>?@[]"),
        ("x" * 255, "x" * 255),
        (f'"{"x" * 255}"', "x" * 255),
    ],
)
def test_a_string_in_quotes_and_a_bare_word_are_the_same_name(text: str, name: str) -> None:
    assert idempotency_request(text, method="POST", path="/", query=b"", body=b"").name == name


@pytest.mark.parametrize(
    "text",
    [
        *("", '""', " ", "x" * 256, f'"{"x" * 300}"', "x" * 300, "a b", "a, b", '"a", "b"', "a;b", '"a";b=1'),
        *('"a', 'a"', '"a"b"', r'"a\b"', '"a\\"', "a\tb", '"a\tb"', "a\x00", '"\x7f"', "\x1f", "a\r\nb"),
        *("ä", '"ä"', "\xa0", "ключ", '"\u2028"'),
    ],
)
def test_what_is_no_string_of_printable_ascii_is_refused(text: str) -> None:
    with pytest.raises(BadUserInput, match="Idempotency-Key must be"):
        idempotency_request(text, method="POST", path="/", query=b"", body=b"")


def test_the_fingerprint_tells_every_part_of_a_request_apart() -> None:
    parts = {"method": "POST", "path": "/a", "query": b"b", "body": b"c"}
    variants = [
        parts,
        {**parts, "method": "PUT"},
        {**parts, "path": "/ab", "query": b""},
        {**parts, "query": b"bc", "body": b""},
        {**parts, "body": b"c "},
    ]
    prints = {idempotency_request("n", **variant).fingerprint for variant in variants}  # type: ignore[arg-type]
    assert len(prints) == len(variants)
    assert idempotency_request('"n"', **parts).fingerprint in prints  # type: ignore[arg-type]


async def test_charge_and_outcome_commit_together_and_a_retry_gets_the_same_bytes(ground: Ground) -> None:
    """Fails when `ledger_commit_once` leaves the entry alone: the retry is told that it still runs."""
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground)
    entry = await begun(idempotency, payer)
    standing = await ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, OUTCOME))
    assert standing.used == 1
    for _ in range(3):
        assert await idempotency.begin(REQUEST, payer, "request-2") == OUTCOME
    assert await ground.used(payer.account_id) == (1, 0)
    assert await ground.db.fetchval("SELECT count(*) FROM usage_event") == 1


async def test_a_settled_reservation_stores_its_outcome_in_the_same_commit(ground: Ground) -> None:
    payer = await ground.payer(await ground.account(), cap_units=10)
    idempotency = kept_by(ground)
    entry = await begun(idempotency, payer)
    reservation = await ground.ledger.reserve(payer, 5, "request-1")
    await ground.ledger.settle(reservation, payer, ONE, idempotency.finish(entry, OUTCOME))
    assert await idempotency.begin(REQUEST, payer, "request-2") == OUTCOME
    assert await ground.used(payer.account_id) == (1, 0)
    assert await ground.drift() == 0


async def test_a_refused_charge_stores_no_outcome(ground: Ground) -> None:
    """Fails when the outcome is stored whatever the verdict: the retry would get a reply nobody paid for."""
    payer = await ground.payer(await ground.account(0))
    idempotency = kept_by(ground)
    entry = await begun(idempotency, payer)
    with pytest.raises(QuotaExceeded):
        await ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, OUTCOME))
    assert await states(ground) == ["running"]
    await idempotency.forget(entry)
    assert isinstance(await idempotency.begin(REQUEST, payer, "request-2"), Entry)


async def test_one_of_twenty_at_once_runs_and_the_others_are_told_to_wait(ground: Ground) -> None:
    """Fails when the entry is looked up before it is inserted: several find nothing and run."""
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground)
    tries = await asyncio.gather(
        *(idempotency.begin(REQUEST, payer, f"r{n}") for n in range(20)), return_exceptions=True
    )
    refused = [each for each in tries if isinstance(each, IdempotencyConflict)]
    assert [isinstance(each, Entry) for each in tries].count(True) == 1
    assert len(refused) == 19
    assert {(each.status, each.retry_after_seconds) for each in refused} == {(409, 1)}


async def test_another_payload_under_the_same_name_is_refused_running_or_done(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground)
    other = replace(REQUEST, fingerprint=b"something else")
    entry = await begun(idempotency, payer)
    with pytest.raises(IdempotencyMismatch) as refusal:
        await idempotency.begin(other, payer, "request-2")
    assert (refusal.value.status, refusal.value.retry_after_seconds) == (422, None)
    await ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, OUTCOME))
    with pytest.raises(IdempotencyMismatch):
        await idempotency.begin(other, payer, "request-3")
    assert await idempotency.begin(REQUEST, payer, "request-4") == OUTCOME


async def test_the_same_name_under_another_key_of_the_account_is_another_request(ground: Ground) -> None:
    account = await ground.account()
    idempotency = kept_by(ground)
    for number, payer in enumerate([await ground.payer(account), await ground.payer(account)]):
        entry = await begun(idempotency, payer)
        outcome = replace(OUTCOME, body=str(number).encode())
        await ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, outcome))
        assert await idempotency.begin(REQUEST, payer, "again") == outcome
    assert await ground.used(account) == (2, 0)


async def test_a_dead_workers_entry_is_taken_over_and_the_zombie_cannot_charge(ground: Ground) -> None:
    """Fails when `ledger_commit_once` does not compare the attempt: two units are charged."""
    payer = await ground.payer(await ground.account())
    zombie = RegisteredWorker(ground.db)
    await zombie.register()
    its_own = kept_by(ground, zombie)
    entry = await begun(its_own, payer)
    idempotency = kept_by(ground)
    with pytest.raises(IdempotencyConflict):
        await idempotency.begin(REQUEST, payer, "too early")
    await give_up(ground, zombie)
    second = await begun(idempotency, payer)
    with pytest.raises(Unavailable, match="given up"):
        await ground.ledger.charge(payer, ONE, "zombie", its_own.finish(entry, OUTCOME))
    await its_own.forget(entry)
    with pytest.raises(Unavailable, match="given up"):
        await its_own.keep(its_own.finish(entry, OUTCOME))
    outcome = replace(OUTCOME, body=b"second")
    await ground.ledger.charge(payer, ONE, "request-2", idempotency.finish(second, outcome))
    assert (await idempotency.begin(REQUEST, payer, "request-3")).body == b"second"  # type: ignore[union-attr]
    assert await ground.used(payer.account_id) == (1, 0)
    assert await ground.drift() == 0


async def test_an_attempt_that_was_given_up_but_not_replaced_may_still_finish(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    sleeper = RegisteredWorker(ground.db)
    await sleeper.register()
    idempotency = kept_by(ground, sleeper)
    entry = await begun(idempotency, payer)
    await give_up(ground, sleeper)
    await ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, OUTCOME))
    assert await kept_by(ground).begin(REQUEST, payer, "request-2") == OUTCOME
    assert await ground.used(payer.account_id) == (1, 0)


async def test_a_reservation_whose_entry_is_lost_is_given_back_and_not_charged(ground: Ground) -> None:
    """Fails when an item that has lost its entry keeps its kind: five units are charged, or stay held."""
    payer = await ground.payer(await ground.account(), cap_units=10)
    idempotency = kept_by(ground)
    entry = await begun(idempotency, payer)
    reservation = await ground.ledger.reserve(payer, 5, "request-1")
    await ground.set_time("91 seconds")
    await begun(idempotency, payer)
    with pytest.raises(Unavailable):
        await ground.ledger.settle(reservation, payer, [Line("echo", 5)], idempotency.finish(entry, OUTCOME))
    assert await ground.used(payer.account_id) == (0, 0)
    assert await states(ground) == ["running"]
    assert await ground.drift() == 0


async def test_a_batch_mixes_calls_with_and_without_entries_and_fences_one_alone(ground: Ground) -> None:
    account = await ground.account()
    payer = await ground.payer(account)
    idempotency = kept_by(ground)
    requests = [replace(REQUEST, name=f"n{n}") for n in range(6)]
    entries = [await begun(idempotency, payer, request) for request in requests]
    await idempotency.forget(entries[2])
    charges = [
        ground.ledger.charge(payer, ONE, f"r{n}", idempotency.finish(entry, OUTCOME))
        for n, entry in enumerate(entries)
    ]
    plain = [ground.ledger.charge(payer, ONE, f"p{n}") for n in range(6)]
    mixed = [call for pair in zip(charges, plain, strict=True) for call in pair]
    outcomes = await asyncio.gather(*mixed, return_exceptions=True)
    assert [isinstance(each, Unavailable) for each in outcomes] == [n == 4 for n in range(12)]
    assert await ground.used(account) == (11, 0)
    assert await states(ground) == ["done"] * 5
    assert await ground.drift() == 0


@asynccontextmanager
async def locked(ground: Ground, entry: Entry) -> AsyncIterator[None]:
    """Hold the row of an entry."""
    connection = await ground.db.connect()
    try:
        async with connection.transaction():
            await connection.execute(
                "SELECT FROM idempotency WHERE key_id = $1 AND name = $2 FOR UPDATE", entry.key_id, entry.name
            )
            yield
    finally:
        await connection.close()


async def test_two_ledgers_that_finish_many_entries_at_once_never_deadlock(ground: Ground) -> None:
    """Fails when entries are locked in the order of arrival: the database ends one of the two batches."""
    account = await ground.account(None)
    payers = [await ground.payer(account) for _ in range(2)]
    idempotency = kept_by(ground)
    entries = [
        await begun(idempotency, payer, replace(REQUEST, name=f"n{n}")) for n in range(30) for payer in payers
    ]
    finishes = [idempotency.finish(entry, OUTCOME) for entry in entries]
    by_key = {payer.key_id: payer for payer in payers}
    sizes: list[int] = []
    ledgers = [
        Ledger(ground.db.connect, ground.worker, observe=lambda seconds, size: sizes.append(size))
        for _ in range(2)
    ]
    for ledger in ledgers:
        await ledger.open()
    try:
        tries = [
            ledger.charge(by_key[finish.entry.key_id], ONE, "r", finish)
            for ledger, order in zip(ledgers, (finishes, finishes[::-1]), strict=True)
            for finish in order
        ]
        # Both stop at an entry in the middle, with all those locked that they came by.
        async with locked(ground, entries[30]):
            racing = asyncio.gather(*tries, return_exceptions=True)
            while await ground.db.fetchval(WAITING) < 2:
                await asyncio.sleep(0.01)
        outcomes = await racing
    finally:
        for ledger in ledgers:
            await ledger.close()
    # A batch that had to be undone is committed again item by item.
    assert sizes == [60, 60]
    # Both try to finish every entry: each is charged by one of them and refused to the other.
    assert sum(isinstance(each, Unavailable) for each in outcomes) == 60
    assert await ground.used(account) == (60, 0)
    assert await ground.drift() == 0


async def test_an_entry_expires_and_is_deleted(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground)
    entry = await begun(idempotency, payer)
    await ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, OUTCOME))
    await ground.set_time("23 hours 59 minutes")
    assert await idempotency.begin(REQUEST, payer, "request-2") == OUTCOME
    assert await idempotency.clean() == 0
    await ground.set_time("24 hours 1 minute")
    other = replace(REQUEST, fingerprint=b"something else")
    again = await begun(idempotency, payer, other)
    assert await idempotency.clean() == 0
    await ground.ledger.charge(payer, ONE, "request-3", idempotency.finish(again, OUTCOME))
    assert await ground.used(payer.account_id) == (2, 0)
    await ground.set_time("49 hours")
    assert await idempotency.clean() == 1
    assert await states(ground) == []


async def test_more_than_one_round_of_expired_entries_is_deleted(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    await ground.db.execute(
        "INSERT INTO idempotency (key_id, name, account_id, fingerprint, state, attempt, worker_id,"
        " request_id, started_at, expires_at)"
        " SELECT $1, n::text, $2, '', 'running', $1, $1, '', af_now(), af_now()"
        " FROM generate_series(1, 2500) AS n",
        payer.key_id,
        payer.account_id,
    )
    assert await kept_by(ground).clean() == 2500


async def test_an_outcome_too_large_to_keep_is_charged_once_and_a_retry_is_told(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground, body_bytes_max=10)
    entry = await begun(idempotency, payer)
    outcome = replace(OUTCOME, body=b"x" * 11)
    await ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, outcome))
    with pytest.raises(IdempotencyOutcomeNotKept) as refusal:
        await idempotency.begin(REQUEST, payer, "request-2")
    assert (refusal.value.code, refusal.value.status) == ("IDEMPOTENCY_CONFLICT", 409)
    assert refusal.value.retry_after_seconds is None
    assert refusal.value.extensions == {"status": 200, "originalRequestId": "request-1"}
    assert await ground.used(payer.account_id) == (1, 0)
    assert await ground.db.fetchval("SELECT body FROM idempotency") is None


async def test_an_outcome_of_the_largest_size_is_kept(ground: Ground) -> None:
    payer = await ground.payer(await ground.account(None))
    idempotency = kept_by(ground)
    outcome = replace(OUTCOME, body=bytes(range(256)) * 1024)
    requests = [replace(REQUEST, name=f"n{n}") for n in range(20)]
    entries = [await begun(idempotency, payer, request) for request in requests]
    await asyncio.gather(
        *(
            ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, outcome))
            for entry in entries
        )
    )
    for request in requests:
        assert await idempotency.begin(request, payer, "again") == outcome


async def test_a_retry_under_a_key_that_was_revoked_is_not_answered(ground: Ground) -> None:
    """Fails when `idempotency_begin` trusts its caller's epoch: a stale cache would replay to that key."""
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground)
    entry = await begun(idempotency, payer)
    await ground.ledger.charge(payer, ONE, "request-1", idempotency.finish(entry, OUTCOME))
    await ground.db.execute("UPDATE api_key SET status = 'REVOKED', epoch = 7 WHERE id = $1", payer.key_id)
    with pytest.raises(Stale):
        await idempotency.begin(REQUEST, payer, "request-2")


async def test_an_outcome_without_a_charge_is_kept_too(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground)
    entry = await begun(idempotency, payer)
    await idempotency.keep(idempotency.finish(entry, OUTCOME))
    assert await idempotency.begin(REQUEST, payer, "request-2") == OUTCOME
    await idempotency.forget(entry)
    assert await idempotency.begin(REQUEST, payer, "request-3") == OUTCOME
    assert await ground.used(payer.account_id) == (0, 0)


async def test_a_worker_that_was_given_up_registers_anew_before_it_takes_an_entry(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    before = ground.worker.id
    await ground.db.execute("DELETE FROM worker")
    await begun(kept_by(ground), payer)
    assert ground.worker.id != before
    assert await ground.db.fetchval("SELECT worker_id FROM idempotency") == ground.worker.id


async def cancel_the_waiting(ground: Ground) -> None:
    """End the statement that waits for a lock, as a time-out does."""
    while not await ground.db.fetchval(
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ):
        await asyncio.sleep(0.01)


async def test_what_an_outage_kept_from_being_let_go_is_let_go_later(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground)
    entry = await begun(idempotency, payer)
    connection = await ground.db.connect()
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE idempotency")
            letting_go = asyncio.create_task(idempotency.forget(entry))
            await cancel_the_waiting(ground)
            await letting_go
            # Another attempt whose caller cannot know whether it has the entry.
            taking = asyncio.create_task(
                idempotency.begin(replace(REQUEST, name="other"), payer, "request-2")
            )
            await cancel_the_waiting(ground)
            with pytest.raises(Unavailable):
                await taking
    finally:
        await connection.close()
    assert await states(ground) == ["running"]
    await idempotency.forget_left()
    assert await states(ground) == []


async def test_nobody_can_hold_an_entry_longer_than_any_request_runs(ground: Ground) -> None:
    payer = await ground.payer(await ground.account())
    idempotency = kept_by(ground)
    first = await begun(idempotency, payer)
    await ground.set_time("89 seconds")
    with pytest.raises(IdempotencyConflict):
        await idempotency.begin(REQUEST, payer, "request-2")
    await ground.set_time("91 seconds")
    second = await begun(idempotency, payer)
    assert isinstance(second.attempt, UUID)
    assert second.attempt != first.attempt
