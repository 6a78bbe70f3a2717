"""The outbox: told once, delivered until it is taken, by one worker at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from standardwebhooks import Webhook

from api_factory.accounts import Account
from api_factory.db import Database
from api_factory.errors import NotFound
from api_factory.notices import Channels, NewNotice, Notices
from api_factory.notices.service import PAUSES_SECONDS
from tests.notices.conftest import SECRET, Receiver, Record, hook

ROOT = Path(__file__).resolve().parents[2]
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def answer(status: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", "content-length: 0", *headers, "", ""]).encode()


async def make_due(database: Database) -> None:
    await database.execute("UPDATE notice_delivery SET next_attempt_at = af_now() WHERE state = 'pending'")


async def test_a_notice_reaches_the_owner_signed_as_standard_webhooks_says(
    database: Database, account: Account, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    assert await record(channels)
    assert await Notices(database, channels).deliver_due() == 1
    (request,) = receiver.received
    assert request.line == "POST /hooks?from=af HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    verified = Webhook(SECRET).verify(request.body, dict(request.headers))
    assert verified["type"] == "billing.payment_failed"
    assert verified["data"] == {
        "account": account.public_id,
        "amount_due": 2_900,
        "currency": "usd",
        "invoice_id": "in_1",
    }
    (delivery,) = await Notices(database, channels).list()
    assert (delivery.state, delivery.attempts, delivery.last_error) == ("delivered", 1, None)
    assert request.headers["webhook-id"] == delivery.notice.public_id


async def test_a_transition_is_told_once_however_often_it_is_recorded(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    assert [await record(channels) for _ in range(3)] == [True, False, False]
    assert await record(channels, "payment_failed:in_1:2")
    assert await Notices(database, channels).deliver_due() == 2
    assert len(receiver.received) == 2


async def test_a_notice_rolls_back_with_what_it_tells_of(
    database: Database, account: Account, receiver: Receiver
) -> None:
    notices = Notices(database, Channels(hook=hook(receiver)))
    new = NewNotice(kind="billing.suspended", dedupe_key="a", account_id=account.id, facts={})

    async def fail_afterwards() -> None:
        async with database.transaction():
            await notices.record(new)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_afterwards()
    assert await notices.list() == ()
    assert await notices.deliver_due() == 0
    assert receiver.received == []


async def test_a_notice_outside_a_transaction_is_a_fault(database: Database, account: Account) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        await Notices(database, Channels()).record(
            NewNotice(kind="billing.suspended", dedupe_key="a", account_id=account.id, facts={})
        )


async def test_without_a_channel_a_notice_is_kept_and_goes_nowhere(
    database: Database, record: Record
) -> None:
    assert await record(Channels())
    assert await Notices(database, Channels()).deliver_due() == 0
    assert await database.fetchval("SELECT count(*) FROM notice") == 1
    assert await database.fetchval("SELECT count(*) FROM notice_delivery") == 0


async def test_a_refused_delivery_comes_again_with_the_same_id_and_body(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    notices = Notices(database, channels)
    receiver.answers = [answer(500), answer(301, "location: http://127.0.0.1:1/"), OK]
    await record(channels)
    assert await notices.deliver_due() == 1
    (failed,) = await notices.list()
    assert (failed.state, failed.attempts, failed.last_error) == ("pending", 1, "it answered 500")
    pause = await database.fetchval(
        "SELECT extract(epoch FROM next_attempt_at - af_now())::float8 FROM notice_delivery"
    )
    assert 0 < pause <= PAUSES_SECONDS[0] * 1.1
    assert await notices.deliver_due() == 0
    for _ in range(2):
        await make_due(database)
        assert await notices.deliver_due() == 1
    (delivered,) = await notices.list()
    assert (delivered.state, delivered.attempts) == ("delivered", 3)
    assert len({(each.headers["webhook-id"], each.body) for each in receiver.received}) == 1
    assert len(receiver.received) == 3


async def test_a_receiver_that_asks_for_a_pause_gets_it(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    receiver.answers = [answer(429, "Retry-After: 1000")]
    await record(channels)
    await Notices(database, channels).deliver_due()
    pause = await database.fetchval(
        "SELECT extract(epoch FROM next_attempt_at - af_now())::float8 FROM notice_delivery"
    )
    assert 900 < pause <= 1000


async def test_a_delivery_that_nobody_takes_is_dead_after_its_last_pause_and_can_be_sent_again(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    observed: list[tuple[str, str]] = []
    notices = Notices(database, channels, observe=lambda *each: observed.append(each))
    receiver.answers = [answer(503)]
    await record(channels)
    for _ in range(len(PAUSES_SECONDS) + 1):
        await make_due(database)
        assert await notices.deliver_due() == 1
    await make_due(database)
    assert await notices.deliver_due() == 0
    (dead,) = await notices.list(state="dead")
    assert (dead.attempts, dead.last_error) == (len(PAUSES_SECONDS) + 1, "it answered 503")
    assert await notices.counts() == (0, 1, 0.0)
    assert observed == [("webhook", "failed")] * len(PAUSES_SECONDS) + [("webhook", "dead")]
    receiver.answers = [OK]
    assert await notices.resend(dead.notice.public_id) == 1
    assert await notices.deliver_due() == 1
    assert [each.state for each in await notices.list()] == ["delivered"]


async def test_a_receiver_that_is_gone_is_not_asked_again(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    receiver.answers = [answer(410)]
    await record(channels)
    await Notices(database, channels).deliver_due()
    (dead,) = await Notices(database, channels).list()
    assert (dead.state, dead.attempts, dead.last_error) == ("dead", 1, "it answered 410")


async def test_a_silent_receiver_is_given_up_and_asked_again_later(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver, timeout_seconds=0.2))
    receiver.answers = [b""]
    await record(channels)
    await Notices(database, channels).deliver_due()
    (failed,) = await Notices(database, channels).list()
    assert failed.state == "pending"
    assert failed.last_error == "no answer within 0 seconds"


async def test_many_workers_send_each_notice_once(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    for number in range(40):
        await record(channels, f"payment_failed:in_{number}:1")
    sent = await asyncio.gather(*(Notices(database, channels).deliver_due() for _ in range(5)))
    assert sum(sent) == 40
    assert len({each.headers["webhook-id"] for each in receiver.received}) == len(receiver.received) == 40


async def test_a_worker_that_wakes_after_its_lease_writes_nothing(
    database: Database, receiver: Receiver, record: Record
) -> None:
    from uuid import uuid4

    from api_factory.notices import store

    channels = Channels(hook=hook(receiver))
    await record(channels)
    (taken,) = await store.claim_due(database, uuid4(), 60, 10)
    await make_due(database)
    assert await Notices(database, channels).deliver_due() == 1
    assert not await store.finish(database, taken, "dead", error="late", pause_seconds=0)
    (delivery,) = await Notices(database, channels).list()
    assert (delivery.state, delivery.last_error) == ("delivered", None)


async def test_a_worker_that_is_killed_while_it_sends_leaves_the_notice_to_the_next(
    database: Database, database_url: str, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    receiver.answers = [b"", OK]
    await record(channels)
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.notices.sender", receiver.url],
        env={**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    while not receiver.received:
        assert child.poll() is None
        await asyncio.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    await make_due(database)
    assert await Notices(database, channels).deliver_due() == 1
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [each.state for each in await Notices(database, channels).list()] == ["delivered"]


async def test_old_notices_are_forgotten_unless_they_are_still_under_way(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    notices = Notices(database, channels)
    await record(channels, "old")
    await notices.deliver_due()
    await record(channels, "old and pending")
    await database.execute("UPDATE notice SET created_at = af_now() - interval '91 days'")
    await record(channels, "new")
    assert await notices.forget_old() == 1
    keys = [row["dedupe_key"] for row in await database.fetch("SELECT dedupe_key FROM notice ORDER BY 1")]
    assert keys == ["new", "old and pending"]


@pytest.mark.parametrize("reference", ["msg_0000000000000000000001", "acc_0000000000000000000001", "x"])
async def test_an_unknown_notice_cannot_be_sent_again(database: Database, reference: str) -> None:
    with pytest.raises(NotFound, match="no such notice"):
        await Notices(database, Channels()).resend(reference)


async def test_a_fact_never_becomes_a_header_or_breaks_the_body(
    database: Database, receiver: Receiver, record: Record
) -> None:
    channels = Channels(hook=hook(receiver))
    await record(channels, reason='a\r\nb: "c"\u202e')
    await Notices(database, channels).deliver_due()
    (request,) = receiver.received
    assert orjson.loads(request.body)["data"]["reason"] == 'a\r\nb: "c"\u202e'
    assert "b" not in request.headers
