"""Stories of buyers, over HTTP with a Stripe in its own process: money and access agree at every step."""

from __future__ import annotations

from datetime import timedelta

from api_factory.accounts import AccountStatus
from api_factory.keys import KeyStatus
from tests.billing.ground import BY, Ground


async def test_a_subscription_gives_its_plan_and_its_end_takes_it(ground: Ground) -> None:
    subscription = ground.subscribe()
    await ground.deliver()
    assert await ground.access() == ("pro", "ACTIVE")
    ground.fake.v1.subscriptions.cancel(subscription.id)
    await ground.deliver()
    assert await ground.access() == ("free", "ACTIVE")
    assert set(await ground.states()) == {"done", "skipped"}


async def test_a_failed_renewal_keeps_access_for_the_grace_then_suspends_then_reinstates(
    ground: Ground,
) -> None:
    subscription = ground.subscribe()
    ground.shop.card(subscription, "insufficient_funds")
    await ground.deliver()
    await ground.advance(days=32)
    await ground.deliver()
    assert await ground.access() == ("pro", "ACTIVE")
    (episode,) = await ground.episodes()
    assert episode.grace_ends_at == episode.opened_at + timedelta(days=7)
    await ground.advance(days=7)
    assert await ground.billing.suspend_due() == 1
    account = await ground.account()
    assert account.status is AccountStatus.UNPAID
    assert account.billing_hold_url == episode.hosted_invoice_url
    assert (await ground.keys.find(ground.key.key.id)).status is KeyStatus.ACTIVE
    ground.shop.card(subscription, "succeeds")
    ground.fake.v1.invoices.pay(ground.shop.now(subscription).latest_invoice)
    await ground.deliver()
    assert await ground.access() == ("pro", "ACTIVE")
    assert [each.stage for each in await ground.episodes()] == ["recovered"]
    kinds = await ground.notices()
    assert kinds[0] == "billing.subscription_changed"
    assert kinds.count("billing.suspended") == 1
    assert kinds.count("billing.reinstated") == 1


async def test_an_upgrade_counts_at_once_and_keeps_what_was_used(ground: Ground) -> None:
    subscription = ground.subscribe()
    await ground.deliver()
    anchor = (await ground.account()).period_anchor
    item = subscription["items"].data[0].id
    ground.fake.v1.subscriptions.update(
        subscription.id, {"items": [{"id": item, "price": ground.shop.scale}]}
    )
    await ground.deliver()
    account = await ground.account()
    assert (account.plan_slug, account.period_anchor) == ("scale", anchor)


async def test_a_suspension_by_an_operator_survives_every_payment(ground: Ground) -> None:
    await ground.accounts.suspend(ground.account_id, reason="abuse", by=BY)
    ground.subscribe()
    await ground.deliver()
    assert await ground.access() == ("pro", "SUSPENDED")
    await ground.accounts.resume(ground.account_id, by=BY)
    assert await ground.access() == ("pro", "ACTIVE")


async def test_keys_that_were_suspended_or_revoked_stay_so_when_it_is_paid(ground: Ground) -> None:
    await ground.keys.suspend(ground.key.key.id, reason="lost", by=BY)
    subscription = ground.subscribe()
    ground.fake.v1.subscriptions.cancel(subscription.id)
    ground.subscribe()
    await ground.deliver()
    assert (await ground.keys.find(ground.key.key.id)).status is KeyStatus.SUSPENDED


async def test_overrides_stay_through_upgrade_and_end(ground: Ground) -> None:
    await ground.accounts.set_quota(ground.account_id, 42, reason="a deal", by=BY)
    subscription = ground.subscribe()
    await ground.deliver()
    ground.fake.v1.subscriptions.cancel(subscription.id)
    await ground.deliver()
    account = await ground.account()
    assert (account.quota_units, account.override_reason) == (42, "a deal")


async def test_a_customer_with_our_metadata_is_linked_by_it(ground: Ground) -> None:
    account = await ground.accounts.create("new@example.com", by=BY)
    customer = ground.shop.customer()
    ground.shop.subscribe(customer=customer, metadata={"account_id": account.public_id})
    await ground.deliver()
    linked = await ground.accounts.get(account.id)
    assert (linked.stripe_customer_id, linked.plan_slug) == (customer, "pro")


async def test_a_payer_without_an_account_waits_and_then_asks_for_a_person(ground: Ground) -> None:
    customer = ground.shop.customer()
    ground.shop.subscribe(customer=customer)
    for _ in range(5):
        await ground.deliver()
        await ground.advance(hours=1)
    row = await ground.db.fetchrow(
        "SELECT state, attempts, last_error FROM stripe_event WHERE customer_id = $1 AND attempts > 0"
        " ORDER BY seq LIMIT 1",
        customer,
    )
    assert tuple(row or ()) == ("needs_attention", 4, "A customer pays, and no account here is his.")


async def test_an_account_that_is_linked_late_gets_what_was_paid_for(ground: Ground) -> None:
    customer = ground.shop.customer()
    ground.shop.subscribe(customer=customer)
    await ground.deliver()
    account = await ground.accounts.create("late@example.com", by=BY)
    await ground.accounts.link_customer(account.id, customer, by=BY)
    await ground.advance(seconds=60)
    await ground.deliver()
    assert (await ground.accounts.get(account.id)).plan_slug == "pro"


async def test_a_new_payment_method_pays_the_open_invoice_once(ground: Ground) -> None:
    subscription = ground.subscribe()
    ground.shop.card(subscription, "insufficient_funds")
    await ground.advance(days=32)
    await ground.deliver()
    ground.fake.control(f"customers/{ground.customer}/card", card="pm_card_visa")
    await ground.deliver()
    assert await ground.attempts.ask_due() == 1
    await ground.deliver()
    assert ground.shop.now(subscription).status == "active"
    assert [each.stage for each in await ground.episodes()] == ["recovered"]
    assert await ground.attempts.ask_due() == 0
    rows = await ground.db.fetch("SELECT cause, state FROM dunning_attempt")
    assert [tuple(row) for row in rows] == [("payment_method", "paid")]


async def test_a_deleted_customer_ends_everything_and_frees_the_account_for_another(ground: Ground) -> None:
    ground.subscribe()
    await ground.deliver()
    ground.fake.v1.customers.delete(ground.customer)
    await ground.deliver()
    account = await ground.account()
    assert (account.plan_slug, account.stripe_customer_id) == ("free", None)
    assert [each.state for each in await ground.standings()] == ["ended"]
