"""The inbox: stored once, worked off in order, fenced, retried, parked, replayed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest

from api_factory.billing.inbox import PAUSES_SECONDS, Inbox, InboxWorker
from api_factory.billing.service import Overtaken
from api_factory.billing.store import inbox as store
from api_factory.billing.stripe import Stripe, event_of
from api_factory.billing.transitions import Cause
from api_factory.errors import (
    InvalidState,
    NotFound,
    StripeMisconfigured,
    Unavailable,
    WebhookNotMounted,
)
from tests.billing.ground import BY, SECRET, Ground
from tests.fake_stripe.process import KEY


def body(
    number: int = 1, customer: str | None = "cus_1", kind: str = "invoice.paid", **facts: object
) -> bytes:
    event = {
        "id": f"evt_{number}",
        "object": "event",
        "type": kind,
        "api_version": "2026-10-28.endive",
        "created": 1_795_000_000 + number,
        "livemode": False,
        "data": {"object": {"id": f"in_{number}", "object": "invoice", "customer": customer}},
    }
    return json.dumps(event | facts).encode()


async def put(ground: Ground, *bodies: bytes) -> None:
    for each in bodies:
        await ground.inbox.add(event_of(each), "webhook")


async def rows(ground: Ground) -> list[tuple[str, str]]:
    found = await ground.db.fetch("SELECT event_id, state FROM stripe_event ORDER BY seq")
    return [(row["event_id"], row["state"]) for row in found]


@contextmanager
def fault(ground: Ground, kind: str, match: str, **facts: object) -> Iterator[None]:
    """Let Stripe's answers go wrong for the block."""
    ground.fake.control("faults", kind=kind, match=match, **facts)
    try:
        yield
    finally:
        httpx.delete(f"{ground.fake.url}/_fake/faults", trust_env=False).raise_for_status()


async def test_twenty_deliveries_at_once_are_one_event(ground: Ground) -> None:
    event = event_of(body())
    receipts = await asyncio.gather(*[ground.inbox.add(event, "webhook") for _ in range(20)])
    assert sum(receipt.is_new for receipt in receipts) == 1
    assert await ground.db.fetchval("SELECT delivery_count FROM stripe_event") == 20


async def test_what_nobody_works_on_is_kept_and_skipped(ground: Ground) -> None:
    await put(ground, body(1, kind="charge.refunded"), body(2, customer=None), body(3, livemode=True))
    assert await rows(ground) == [("evt_1", "skipped"), ("evt_2", "skipped"), ("evt_3", "skipped")]
    assert await ground.worker.drain() == 0


async def test_the_bytes_are_kept_as_they_came(ground: Ground) -> None:
    sent = body().replace(b'"livemode": false', b'"livemode" :  false')
    await put(ground, sent)
    assert await ground.db.fetchval("SELECT body FROM stripe_event") == sent


async def test_a_customers_events_are_worked_off_one_after_the_other_in_order(ground: Ground) -> None:
    await put(ground, body(1), body(2), body(3, customer="cus_2"))
    first = await store.claim(ground.db, uuid4(), 60)
    second = await store.claim(ground.db, uuid4(), 60)
    third = await store.claim(ground.db, uuid4(), 60)
    assert first is not None
    assert second is not None
    assert (first.event_id, second.event_id, third) == ("evt_1", "evt_3", None)
    async with ground.db.transaction():
        assert await store.lock_claimed(ground.db, first.seq, first.lease)
        await store.finish(ground.db, first.seq, "done", None)
    following = await store.claim(ground.db, uuid4(), 60)
    assert following is not None
    assert following.event_id == "evt_2"


async def test_an_event_that_was_stored_late_waits_for_the_one_under_way(ground: Ground) -> None:
    await put(ground, body(1), body(2))
    await ground.db.execute(
        "UPDATE stripe_event SET next_attempt_at = af_now() + interval '1 hour' WHERE seq ="
        " (SELECT min(seq) FROM stripe_event)"
    )
    assert await store.claim(ground.db, uuid4(), 60) is None, "an earlier one waits, so its followers do"
    await ground.db.execute(
        "UPDATE stripe_event SET state = 'processing', lease = gen_random_uuid(),"
        " locked_until = af_now() + interval '1 hour' WHERE event_id = 'evt_2'"
    )
    await ground.db.execute("UPDATE stripe_event SET next_attempt_at = af_now() WHERE event_id = 'evt_1'")
    assert await store.claim(ground.db, uuid4(), 60) is None


async def test_whoever_slept_past_the_lease_writes_nothing(ground: Ground) -> None:
    await put(ground, body(1))
    sleeper = await store.claim(ground.db, uuid4(), 0)
    follower = await store.claim(ground.db, uuid4(), 60)
    assert sleeper is not None
    assert follower is not None
    assert (sleeper.seq, follower.attempts) == (follower.seq, 2)
    async with ground.db.transaction():
        assert not await store.lock_claimed(ground.db, sleeper.seq, sleeper.lease)
        assert await store.lock_claimed(ground.db, follower.seq, follower.lease)
    assert not await store.give_back(ground.db, sleeper.seq, sleeper.lease, 0, "late", counts=True)


async def test_an_outage_of_stripe_puts_an_event_off_longer_each_time_until_it_is_dead(
    ground: Ground,
) -> None:
    ground.subscribe()
    await put(ground, body(1, customer=ground.customer))
    with fault(ground, "error_500", "GET /v1/customers/*"):
        for number in range(1, len(PAUSES_SECONDS) + 2):
            assert await ground.worker.step(), f"attempt {number}"
            assert not await ground.worker.step()
            await ground.advance(days=1)
    assert await rows(ground) == [("evt_1", "dead")]
    assert await ground.inbox.replay("evt_1", by=BY) == "dead"
    await ground.worker.drain()
    assert await rows(ground) == [("evt_1", "done")]
    assert await ground.access() == ("pro", "ACTIVE")


async def test_a_failing_customer_holds_back_nobody_else(ground: Ground) -> None:
    ground.subscribe()
    await put(
        ground,
        body(1, customer="cus_other"),
        body(2, customer=ground.customer),
        body(3, customer="cus_other"),
    )
    with fault(ground, "error_500", "GET /v1/customers/cus_other"):
        await ground.worker.drain()
    assert await rows(ground) == [("evt_1", "pending"), ("evt_2", "done"), ("evt_3", "pending")]


async def test_a_customer_that_stripe_does_not_know_is_for_a_person(ground: Ground) -> None:
    await put(ground, body(1, customer="cus_nobody"))
    await ground.worker.drain()
    assert await rows(ground) == [("evt_1", "needs_attention")]


async def test_an_unknown_price_is_parked_and_a_replay_after_mapping_it_gives_the_plan(
    ground: Ground,
) -> None:
    price = ground.fake.v1.prices.create(
        {
            "product": ground.shop.product,
            "currency": "usd",
            "unit_amount": 100,
            "recurring": {"interval": "month"},
        }
    )
    ground.subscribe(price.id)
    await ground.deliver()
    assert await ground.access() == ("free", "ACTIVE")
    event_id = await ground.db.fetchval(
        "SELECT event_id FROM stripe_event WHERE state = 'needs_attention' ORDER BY seq LIMIT 1"
    )
    ground.fake.v1.prices.update(price.id, {"metadata": {"api_factory_plan": "scale"}})
    assert await ground.inbox.replay(event_id, by=BY) == "needs_attention"
    await ground.worker.drain()
    assert await ground.access() == ("scale", "ACTIVE")


async def test_a_replay_fetches_what_the_inbox_lacks_and_refuses_what_nobody_has(ground: Ground) -> None:
    ground.subscribe()
    event = event_of(next(each for each in ground.events() if b"customer.subscription.created" in each))
    assert await ground.inbox.replay(event.id, by=BY) == "missing"
    await ground.worker.drain()
    assert await ground.access() == ("pro", "ACTIVE")
    with pytest.raises(NotFound):
        await ground.inbox.replay("evt_of_nobody", by=BY)


async def test_what_is_being_worked_on_is_not_replayed(ground: Ground) -> None:
    await put(ground, body(1))
    await store.claim(ground.db, uuid4(), 60)
    with pytest.raises(InvalidState):
        await ground.inbox.replay("evt_1", by=BY)
    assert await rows(ground) == [("evt_1", "processing")]


async def test_a_wrong_key_burns_no_attempt(ground: Ground) -> None:
    await put(ground, body(1))
    inbox = Inbox(ground.db, ground.audit, Stripe(None), (SECRET,))
    with pytest.raises(StripeMisconfigured):
        await InboxWorker(ground.db, ground.billing, inbox).step()
    row = await ground.db.fetchrow("SELECT state, attempts FROM stripe_event")
    assert tuple(row or ()) == ("pending", 0)


async def test_stripe_is_never_asked_inside_a_transaction(ground: Ground) -> None:
    async with ground.db.transaction():
        with pytest.raises(RuntimeError, match="inside a database transaction"):
            await ground.stripe.customer(ground.customer)
    assert await ground.stripe.customer(ground.customer) is not None


async def test_projecting_what_was_fetched_before_another_projection_is_refused_and_done_again(
    ground: Ground,
) -> None:
    subscription = ground.subscribe()
    await ground.deliver()
    before = await ground.billing.now()
    old = await ground.stripe.picture(ground.customer)
    ground.fake.v1.subscriptions.cancel(subscription.id)
    await ground.deliver()
    assert await ground.access() == ("free", "ACTIVE")
    assert old is not None
    async with ground.db.transaction():
        with pytest.raises(Overtaken):
            await ground.billing.apply(old, before, Cause(id="evt_old", kind="invoice.paid"))
    assert await ground.access() == ("free", "ACTIVE")


async def test_without_a_secret_nothing_comes_in(ground: Ground) -> None:
    inbox = Inbox(ground.db, ground.audit, Stripe(KEY), ())
    with pytest.raises(WebhookNotMounted):
        await inbox.receive(body(), "t=1,v1=0")
    assert await rows(ground) == []


async def test_finished_events_are_forgotten_after_stripe_has(ground: Ground) -> None:
    await put(ground, body(1, kind="charge.refunded"), body(2))
    await ground.advance(days=36)
    await ground.inbox.prune()
    assert await rows(ground) == [("evt_2", "pending")]


async def test_the_workers_of_a_process_drain_what_arrives_and_stop(ground: Ground) -> None:
    ground.subscribe()
    ground.worker.start()
    for each in ground.events():
        await ground.inbox.add(event_of(each), "webhook")
    async with asyncio.timeout(30):
        while "pending" in (states := await ground.states()) or "processing" in states:
            await asyncio.sleep(0.05)
    await ground.worker.stop()
    assert await ground.access() == ("pro", "ACTIVE")


async def test_a_worker_that_is_stopped_gives_its_event_back_at_once(ground: Ground) -> None:
    await put(ground, body(1, customer=ground.customer))
    with fault(ground, "timeout", "GET /v1/customers/*", seconds=3):
        task = asyncio.ensure_future(ground.worker.step())
        while await ground.states() != {"processing": 1}:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    row = await ground.db.fetchrow("SELECT state, attempts FROM stripe_event")
    assert tuple(row or ()) == ("pending", 0)


async def test_a_database_that_is_away_is_said_so(ground: Ground) -> None:
    await ground.db.close()
    with pytest.raises(Unavailable):
        await put(ground, body(1))
    await ground.db.open()
    assert await rows(ground) == []
