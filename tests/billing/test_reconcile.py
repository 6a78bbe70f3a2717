"""Comparison with Stripe: it finds what was lost or changed by hand, and applies it by projection."""

from __future__ import annotations

import pytest

from api_factory.billing.reconcile import EVENTS_EVERY
from api_factory.errors import StripeUnavailable
from tests.billing.ground import BY, Ground


async def kinds(ground: Ground, *, apply: bool = False) -> list[str]:
    """Compare, work off what that brought, and return the kinds of the differences."""
    found = await ground.reconciliation.run(apply=apply)
    await ground.worker.drain()
    return sorted({each.kind for each in found.differences})


async def test_events_that_never_came_are_taken_in_once(ground: Ground) -> None:
    ground.subscribe()
    await ground.reconciliation.events_when_due()
    await ground.worker.drain()
    assert await ground.access() == ("pro", "ACTIVE")
    before = await ground.db.fetchval("SELECT count(*) FROM stripe_event")
    await ground.advance(seconds=int(EVENTS_EVERY.total_seconds()))
    await ground.reconciliation.events_when_due()
    assert await ground.db.fetchval("SELECT count(*) FROM stripe_event") == before
    runs = await ground.db.fetch("SELECT found, watermark FROM reconcile_run ORDER BY started_at")
    assert [run["found"] > 0 for run in runs] == [True, False]
    assert runs[1]["watermark"] >= runs[0]["watermark"]


async def test_however_many_workers_ask_it_is_done_once_in_its_time(ground: Ground) -> None:
    for _ in range(3):
        await ground.reconciliation.events_when_due()
        await ground.reconciliation.subscriptions_when_due()
    rows = await ground.db.fetch("SELECT kind, count(*) FROM reconcile_run GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in rows] == [("events", 1), ("subscriptions", 1)]


async def test_an_outage_moves_no_watermark(ground: Ground) -> None:
    ground.subscribe()
    ground.fake.control("faults", kind="error_500", match="GET /v1/events", times=9)
    with pytest.raises(StripeUnavailable):
        await ground.reconciliation.events_when_due()
    row = await ground.db.fetchrow("SELECT watermark, error FROM reconcile_run")
    assert row is not None
    assert (row["watermark"], row["error"] is None) == (None, False)
    ground.fake.control("reset", seed="1")


async def test_nothing_differs_after_every_event(ground: Ground) -> None:
    ground.subscribe()
    await ground.deliver()
    assert await kinds(ground) == []
    assert await ground.reconciliation.last_found() == 0


async def test_a_dry_run_changes_nothing(ground: Ground) -> None:
    ground.subscribe()
    found = await ground.reconciliation.run(apply=False)
    assert [each.kind for each in found.differences] == ["missing_here"]
    assert len(found.missing_events) > 0
    assert await ground.worker.drain() == 0
    assert await ground.access() == ("free", "ACTIVE")
    assert await ground.reconciliation.last_found() == 1


async def test_a_subscription_that_was_missed_is_found_and_applied(ground: Ground) -> None:
    ground.subscribe()
    assert await kinds(ground, apply=True) == ["missing_here"]
    assert await ground.access() == ("pro", "ACTIVE")
    assert await kinds(ground) == []


async def test_changes_that_nobody_told_of_are_found_and_applied(ground: Ground) -> None:
    subscription = ground.subscribe()
    await ground.deliver()
    item = subscription["items"].data[0].id
    v1 = ground.fake.v1
    v1.subscriptions.update(subscription.id, {"items": [{"id": item, "price": ground.shop.scale}]})
    v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert await kinds(ground, apply=True) == ["cancellation", "plan", "price"]
    assert await ground.access() == ("scale", "ACTIVE")
    assert await kinds(ground) == []


async def test_an_end_that_nobody_told_of_is_found_and_applied(ground: Ground) -> None:
    subscription = ground.subscribe()
    await ground.deliver()
    ground.fake.v1.subscriptions.cancel(subscription.id)
    assert "status" in await kinds(ground, apply=True)
    assert await ground.access() == ("free", "ACTIVE")
    assert await kinds(ground) == []


async def test_access_that_was_changed_by_hand_is_found_and_given_back(ground: Ground) -> None:
    ground.subscribe()
    await ground.deliver()
    await ground.accounts.set_plan(ground.account_id, "free", by=BY)
    assert await kinds(ground, apply=True) == ["access"]
    assert await ground.access() == ("pro", "ACTIVE")
    assert await kinds(ground) == []


async def test_a_payer_without_an_account_is_found_and_stays_for_a_person(ground: Ground) -> None:
    ground.shop.subscribe(customer=ground.shop.customer())
    assert await kinds(ground, apply=True) == ["paid_without_account"]
    assert await kinds(ground) == ["paid_without_account"]


async def test_a_subscription_of_another_product_is_nobodys_business(ground: Ground) -> None:
    price = ground.fake.v1.prices.create(
        {
            "product": ground.shop.product,
            "currency": "usd",
            "unit_amount": 1,
            "recurring": {"interval": "month"},
        }
    )
    ground.shop.subscribe(price.id, customer=ground.shop.customer())
    assert await kinds(ground, apply=True) == []
    assert set(await ground.states()) <= {"done", "skipped"}


async def test_two_live_subscriptions_are_found(ground: Ground) -> None:
    ground.subscribe()
    ground.subscribe(ground.shop.scale)
    await ground.deliver()
    assert await kinds(ground) == ["several_live_subscriptions"]


async def test_what_stripe_does_not_have_is_found(ground: Ground) -> None:
    ground.subscribe()
    await ground.deliver()
    await ground.db.execute("UPDATE subscription SET id = 'sub_nowhere'")
    assert "missing_there" in await kinds(ground)
