"""Subscriptions: every status, and every way from one to another."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.fake_stripe.shop import DAY, HOUR, NOW, Shop, item

FEBRUARY_28 = NOW + 28 * DAY


def test_a_good_card_makes_it_active_at_once(shop: Shop) -> None:
    subscription = shop.subscribe(metadata={"account_id": "42"})
    invoice = shop.invoice(subscription)
    assert (subscription.status, invoice.status, invoice.amount_paid) == ("active", "paid", 2_000)
    assert invoice.billing_reason == "subscription_create"
    details = invoice.parent.subscription_details
    assert (details.subscription, details.metadata["account_id"]) == (subscription.id, "42")
    assert (item(subscription).current_period_start, item(subscription).current_period_end) == (
        NOW,
        FEBRUARY_28,
    )


def test_its_events_say_incomplete_first_and_active_then(shop: Shop) -> None:
    customer = shop.customer()
    before = len(shop.types())
    shop.subscribe(customer=customer)
    assert shop.types(before) == [
        "customer.subscription.created",
        "invoice.created",
        "customer.subscription.updated",
        "customer.updated",
        "payment_intent.created",
        "invoice.finalized",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "customer.subscription.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    last = shop.v1.events.list({"type": "customer.subscription.updated"}).data[0]
    assert last.data.previous_attributes.to_dict() == {"status": "incomplete"}
    assert last.data.object.status == "active"


def test_a_refused_first_card_leaves_it_incomplete_until_it_is_paid(shop: Shop) -> None:
    subscription = shop.subscribe(customer=shop.customer("pm_card_chargeCustomerFail"))
    assert (subscription.status, shop.invoice(subscription).status) == ("incomplete", "open")
    shop.card(subscription, "succeeds")
    shop.v1.invoices.pay(subscription.latest_invoice)
    assert shop.now(subscription).status == "active"


def test_an_incomplete_one_expires_after_23_hours_and_its_invoice_is_void(shop: Shop) -> None:
    subscription = shop.subscribe(customer=shop.customer("pm_card_chargeCustomerFail"))
    shop.fake.advance(seconds=23 * HOUR - 1)
    assert shop.now(subscription).status == "incomplete"
    shop.fake.advance(seconds=1)
    assert shop.now(subscription).status == "incomplete_expired"
    assert shop.invoice(subscription).status == "void"


def test_error_if_incomplete_leaves_nothing_behind(shop: Shop) -> None:
    customer = shop.customer("pm_card_chargeCustomerFail")
    before = shop.types()
    with pytest.raises(stripe.CardError) as caught:
        shop.subscribe(customer=customer, payment_behavior="error_if_incomplete")
    assert (caught.value.code, caught.value.http_status) == ("card_declined", 402)
    assert shop.v1.subscriptions.list({"status": "all"}).data == []
    assert shop.types() == before


def test_default_incomplete_waits_for_the_buyer(shop: Shop) -> None:
    subscription = shop.subscribe(
        payment_behavior="default_incomplete", expand=["latest_invoice.confirmation_secret"]
    )
    assert (subscription.status, subscription.latest_invoice.attempt_count) == ("incomplete", 0)
    assert subscription.latest_invoice.confirmation_secret.type == "payment_intent"


def test_a_renewal_moves_the_period_and_charges_an_hour_later(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.fake.advance(to=FEBRUARY_28)
    renewed, invoice = shop.now(subscription), shop.invoice(subscription)
    assert (item(renewed).current_period_start, item(renewed).current_period_end) == (
        FEBRUARY_28,
        NOW + 59 * DAY,
    )
    assert (renewed.status, invoice.status, invoice.billing_reason) == (
        "active",
        "draft",
        "subscription_cycle",
    )
    shop.fake.advance(seconds=HOUR)
    assert shop.invoice(subscription).status == "paid"
    line = shop.invoice(subscription).lines.data[0]
    assert (line.period.start, line.period.end) == (FEBRUARY_28, NOW + 59 * DAY)


def test_the_31st_comes_back_after_february(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.fake.advance(days=60)
    assert item(shop.now(subscription)).current_period_start == NOW + 59 * DAY  # March 31


def test_a_trial_costs_nothing_and_is_announced_three_days_before_its_end(shop: Shop) -> None:
    subscription = shop.subscribe(trial_period_days=14)
    assert (subscription.status, subscription.trial_end) == ("trialing", NOW + 14 * DAY)
    assert shop.invoice(subscription).total == 0
    shop.fake.advance(days=11, seconds=-1)
    assert "customer.subscription.trial_will_end" not in shop.types()
    shop.fake.advance(seconds=1)
    assert "customer.subscription.trial_will_end" in shop.types()
    shop.fake.advance(days=3, seconds=HOUR)
    assert shop.now(subscription).status == "active"
    assert shop.invoice(subscription).amount_paid == 2_000


@pytest.mark.parametrize(
    ("wanted", "status"), [("cancel", "canceled"), ("pause", "paused"), ("create_invoice", "active")]
)
def test_a_trial_without_a_card_ends_as_it_was_told_to(shop: Shop, wanted: str, status: str) -> None:
    settings = {"end_behavior": {"missing_payment_method": wanted}}
    subscription = shop.subscribe(customer=shop.customer(None), trial_period_days=14, trial_settings=settings)
    shop.fake.advance(days=14)
    found = shop.now(subscription)
    assert found.status == status
    if status == "paused":
        assert found.status_details.paused.subscription.type == "trial_end_without_payment_method"


def test_ending_a_trial_now_bills_at_once(shop: Shop) -> None:
    subscription = shop.subscribe(trial_period_days=14)
    shop.fake.advance(days=1)
    changed = shop.v1.subscriptions.update(subscription.id, {"trial_end": "now"})
    assert (changed.status, item(changed).current_period_start) == ("active", NOW + DAY)
    assert shop.invoice(subscription).status == "paid"


def test_an_upgrade_is_prorated_and_invoiced_at_once(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.fake.advance(days=14)  # half of the 28 days
    changed = shop.v1.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": item(subscription).id, "price": shop.scale}],
            "proration_behavior": "always_invoice",
        },
    )
    invoice = shop.invoice(subscription)
    assert item(changed).price.id == shop.scale
    assert [line.amount for line in invoice.lines.data] == [-1_000, 2_500]
    assert (invoice.billing_reason, invoice.amount_paid) == ("subscription_update", 1_500)
    assert all(line.parent.subscription_item_details.proration for line in invoice.lines.data)
    assert item(changed).current_period_end == FEBRUARY_28


def test_prorations_wait_for_the_next_invoice_unless_told_otherwise(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.fake.advance(days=14)
    shop.v1.subscriptions.update(
        subscription.id, {"items": [{"id": item(subscription).id, "price": shop.scale}]}
    )
    shop.fake.advance(days=14, seconds=HOUR)
    assert [line.amount for line in shop.invoice(subscription).lines.data] == [-1_000, 2_500, 5_000]


def test_no_proration_changes_the_price_and_bills_nothing(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item(subscription).id, "price": shop.scale}], "proration_behavior": "none"},
    )
    assert shop.now(subscription).latest_invoice == subscription.latest_invoice


def test_an_upgrade_may_wait_for_its_payment(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.card(subscription, "insufficient_funds")
    changed = _upgrade(shop, subscription, payment_behavior="pending_if_incomplete")
    assert (changed.status, item(changed).price.id) == ("active", shop.pro)
    assert changed.pending_update.subscription_items[0].price.id == shop.scale
    shop.card(subscription, "succeeds")
    shop.v1.invoices.pay(changed.latest_invoice)
    applied = shop.now(subscription)
    assert (item(applied).price.id, applied.pending_update) == (shop.scale, None)
    assert "customer.subscription.pending_update_applied" in shop.types()


def test_an_upgrade_that_is_not_paid_in_23_hours_is_forgotten(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.card(subscription, "insufficient_funds")
    changed = _upgrade(shop, subscription, payment_behavior="pending_if_incomplete")
    shop.fake.advance(seconds=23 * HOUR)
    found = shop.now(subscription)
    assert (found.status, item(found).price.id, found.pending_update) == ("active", shop.pro, None)
    assert shop.v1.invoices.retrieve(changed.latest_invoice).status == "void"
    assert "customer.subscription.pending_update_expired" in shop.types()


def test_an_upgrade_with_error_if_incomplete_changes_nothing(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.card(subscription, "insufficient_funds")
    before = shop.types()
    with pytest.raises(stripe.CardError):
        _upgrade(shop, subscription, payment_behavior="error_if_incomplete", metadata={"a": "b"})
    assert item(shop.now(subscription)).price.id == shop.pro
    assert shop.types()[: len(before)] == before


def test_an_unpaid_upgrade_otherwise_makes_it_past_due(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.card(subscription, "insufficient_funds")
    changed = _upgrade(shop, subscription)
    assert (changed.status, item(changed).price.id) == ("past_due", shop.scale)


def test_another_interval_starts_a_period_now(shop: Shop) -> None:
    yearly = shop.v1.prices.create(
        {"product": shop.product, "currency": "usd", "unit_amount": 20_000, "recurring": {"interval": "year"}}
    )
    subscription = shop.subscribe()
    shop.fake.advance(days=14)
    changed = shop.v1.subscriptions.update(
        subscription.id, {"items": [{"id": item(subscription).id, "price": yearly.id}]}
    )
    assert (item(changed).current_period_start, item(changed).current_period_end) == (
        NOW + 14 * DAY,
        NOW + (14 + 365) * DAY,
    )
    assert shop.invoice(subscription).amount_paid == 19_000


def test_a_downgrade_can_be_scheduled_for_the_end_of_the_period(shop: Shop) -> None:
    subscription = shop.subscribe(shop.scale)
    schedule = shop.v1.subscription_schedules.create({"from_subscription": subscription.id})
    now = {"items": [{"price": shop.scale}], "start_date": NOW, "end_date": FEBRUARY_28}
    then = {"items": [{"price": shop.pro}], "duration": {"interval": "month"}}
    shop.v1.subscription_schedules.update(schedule.id, {"phases": [now, then], "end_behavior": "release"})
    shop.fake.advance(to=FEBRUARY_28 - 1)
    assert item(shop.now(subscription)).price.id == shop.scale
    shop.fake.advance(seconds=HOUR + 1)
    changed = shop.now(subscription)
    assert (item(changed).price.id, item(changed).id) == (shop.pro, item(subscription).id)
    assert [line.amount for line in shop.invoice(subscription).lines.data] == [2_000]
    shop.fake.advance(days=31)
    assert shop.v1.subscription_schedules.retrieve(schedule.id).status == "released"
    assert shop.now(subscription).schedule is None


@pytest.mark.parametrize("price", ["pro", "scale"])
def test_quantity_multiplies_the_amount(shop: Shop, price: str) -> None:
    subscription = shop.v1.subscriptions.create(
        {"customer": shop.customer(), "items": [{"price": getattr(shop, price), "quantity": 3}]}
    )
    assert item(subscription).quantity == 3
    assert shop.invoice(subscription).amount_paid == 3 * {"pro": 2_000, "scale": 5_000}[price]


def test_it_ends_with_its_period_and_that_can_be_undone(shop: Shop) -> None:
    subscription = shop.subscribe()
    ends = shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert (ends.status, ends.cancel_at_period_end, ends.cancel_at) == ("active", True, FEBRUARY_28)
    assert ends.cancellation_details.reason == "cancellation_requested"
    kept = shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    assert (kept.cancel_at_period_end, kept.cancel_at, kept.canceled_at) == (False, None, None)


@pytest.mark.parametrize(
    "params", [{"cancel_at_period_end": True}, {"cancel_at": "min_period_end"}, {"cancel_at": FEBRUARY_28}]
)
def test_at_its_end_it_is_canceled_and_not_renewed(shop: Shop, params: dict[str, Any]) -> None:
    subscription = shop.subscribe()
    shop.v1.subscriptions.update(subscription.id, params)
    shop.fake.advance(days=57)
    found = shop.now(subscription)
    assert (found.status, found.ended_at) == ("canceled", FEBRUARY_28)
    assert shop.types()[-1] == "customer.subscription.deleted"
    assert len(shop.v1.invoices.list({"subscription": subscription.id}).data) == 1


def test_cancelled_now_it_ends_now_and_stays_so(shop: Shop) -> None:
    subscription = shop.v1.subscriptions.cancel(shop.subscribe().id)
    assert (subscription.status, subscription.ended_at) == ("canceled", NOW)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.cancel(subscription.id)


def test_deleting_a_customer_ends_its_subscriptions(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.v1.customers.delete(subscription.customer)
    assert shop.now(subscription).status == "canceled"
    assert shop.types()[-2:] == ["customer.subscription.deleted", "customer.deleted"]


def test_paused_it_neither_renews_nor_charges_until_it_is_resumed(shop: Shop) -> None:
    subscription = shop.subscribe()
    paused = shop.v1.subscriptions.pause(
        subscription.id, {"bill_for": {"unused_time_from": {"type": "none"}}}
    )
    assert paused.status == "paused"
    assert paused.status_details.paused.subscription.type == "pause_requested"
    shop.fake.advance(days=60)
    assert shop.now(subscription).latest_invoice == subscription.latest_invoice
    resumed = shop.v1.subscriptions.resume(subscription.id)
    assert (resumed.status, item(resumed).current_period_start) == ("active", NOW + 60 * DAY)
    assert shop.invoice(subscription).amount_paid == 2_000
    assert {"customer.subscription.updated", "customer.subscription.resumed"} < set(shop.types())


def test_unused_time_of_a_pause_is_credited(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.fake.advance(days=14)
    shop.v1.subscriptions.pause(subscription.id)
    shop.v1.subscriptions.resume(subscription.id)
    assert [line.amount for line in shop.invoice(subscription).lines.data] == [-1_000, 2_000]


def test_resuming_may_wait_for_the_payment(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.v1.subscriptions.pause(subscription.id, {"bill_for": {"unused_time_from": {"type": "none"}}})
    assert shop.types()[-1] == "customer.subscription.paused"
    shop.card(subscription, "insufficient_funds")
    waiting = shop.v1.subscriptions.resume(
        subscription.id,
        {"payment_behavior": "resume_on_payment_success", "billing_cycle_anchor": {"type": "now"}},
    )
    assert waiting.status == "paused"
    shop.card(subscription, "succeeds")
    shop.fake.advance(days=2)
    assert shop.now(subscription).status == "active"


@pytest.mark.parametrize(
    ("behavior", "status"),
    [("keep_as_draft", "draft"), ("void", "void"), ("mark_uncollectible", "uncollectible")],
)
def test_a_paused_collection_keeps_it_active_and_does_not_charge(
    shop: Shop, behavior: str, status: str
) -> None:
    subscription = shop.subscribe()
    shop.v1.subscriptions.update(subscription.id, {"pause_collection": {"behavior": behavior}})
    shop.fake.advance(days=29)
    assert (shop.now(subscription).status, shop.invoice(subscription).status) == ("active", status)
    assert shop.v1.subscriptions.update(subscription.id, {"pause_collection": ""}).pause_collection is None


def test_lists_are_filtered_by_status_price_and_customer(shop: Shop) -> None:
    ended = shop.v1.subscriptions.cancel(shop.subscribe().id)
    trial = shop.subscribe(shop.scale, trial_period_days=7)

    def found(**params: Any) -> list[str]:
        return [one.id for one in shop.v1.subscriptions.list(params).data]

    assert found() == [trial.id]
    assert found(status="all") == [trial.id, ended.id]
    assert found(status="ended") == found(status="canceled") == [ended.id]
    assert found(status="trialing") == found(price=shop.scale) == [trial.id]
    assert found(status="all", customer=ended.customer) == [ended.id]
    assert found(status="all", created={"gt": NOW}) == []


def test_an_invoice_that_is_sent_is_past_due_after_its_days(shop: Shop) -> None:
    subscription = shop.subscribe(
        customer=shop.customer(None), collection_method="send_invoice", days_until_due=10
    )
    assert subscription.status == "active"
    shop.fake.advance(seconds=HOUR)
    assert shop.invoice(subscription).due_date == NOW + HOUR + 10 * DAY
    shop.fake.advance(days=10)
    assert shop.now(subscription).status == "past_due"
    shop.v1.invoices.pay(shop.invoice(subscription).id, {"paid_out_of_band": True})
    assert shop.now(subscription).status == "active"


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"price": "pro"}, {"price": "pro"}],
        [{"price": "pro", "quantity": -1}],
        [{"price": "metered", "quantity": 2}],
        [{"price": "once"}],
        [{"price": "pro"}, {"price": "yearly"}],
        [{"price": "pro"}, {"price": "euro"}],
    ],
)
def test_items_that_stripe_refuses_are_refused(shop: Shop, items: list[dict[str, Any]]) -> None:
    price = {"product": shop.product, "unit_amount": 1}
    monthly, yearly = {"recurring": {"interval": "month"}}, {"recurring": {"interval": "year"}}
    known = {
        "pro": shop.pro,
        "metered": shop.metered,
        "once": shop.v1.prices.create({**price, "currency": "usd"}).id,
        "yearly": shop.v1.prices.create({**price, **yearly, "currency": "usd"}).id,
        "euro": shop.v1.prices.create({**price, **monthly, "currency": "eur"}).id,
    }
    chosen = [{**one, "price": known[one["price"]]} for one in items]
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.create({"customer": shop.customer(), "items": chosen})
    assert shop.v1.subscriptions.list({"status": "all"}).data == []


def test_a_refused_update_changes_nothing(shop: Shop) -> None:
    subscription = shop.subscribe()
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.update(
            subscription.id, {"cancel_at_period_end": True, "metadata": {"a": "b"}, "colour": "red"}
        )
    found = shop.now(subscription)
    assert (found.cancel_at_period_end, found.metadata.to_dict(), found.canceled_at) == (False, {}, None)


def _upgrade(shop: Shop, subscription: Any, **params: Any) -> Any:
    change = {
        "items": [{"id": item(subscription).id, "price": shop.scale}],
        "proration_behavior": "always_invoice",
    }
    return shop.v1.subscriptions.update(subscription.id, change | params)
