"""Invoices: retries on Stripe's clock, what refuses them, and what happens in the end."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.fake_stripe.shop import DAY, HOUR, NOW, Shop, item

FIRST_TRY = NOW + 28 * DAY + HOUR


def _past_due(shop: Shop, behaviour: str = "insufficient_funds") -> Any:
    """Return a subscription whose renewal was just refused for the first time."""
    subscription = shop.subscribe()
    shop.card(subscription, behaviour)
    shop.fake.advance(to=FIRST_TRY)
    return shop.now(subscription)


def _intent(shop: Shop, subscription: Any) -> Any:
    invoice = shop.v1.invoices.retrieve(
        subscription.latest_invoice, {"expand": ["payments.data.payment.payment_intent"]}
    )
    return invoice.payments.data[0].payment.payment_intent


def test_a_refused_renewal_makes_it_past_due_and_names_the_next_try(shop: Shop) -> None:
    subscription = _past_due(shop)
    invoice = shop.invoice(subscription)
    assert (subscription.status, invoice.status, invoice.attempt_count) == ("past_due", "open", 1)
    assert invoice.next_payment_attempt == FIRST_TRY + 2 * DAY
    assert shop.v1.customers.retrieve(subscription.customer).delinquent is True
    assert _intent(shop, subscription).last_payment_error.decline_code == "insufficient_funds"


def test_a_retry_that_succeeds_makes_it_active_again(shop: Shop) -> None:
    subscription = _past_due(shop)
    shop.card(subscription, "succeeds")
    shop.fake.advance(days=2)
    invoice = shop.invoice(subscription)
    assert (shop.now(subscription).status, invoice.status, invoice.attempt_count) == ("active", "paid", 2)
    assert invoice.next_payment_attempt is None
    assert shop.v1.customers.retrieve(subscription.customer).delinquent is False


def test_eight_tries_in_two_weeks_and_then_the_subscription_is_canceled(shop: Shop) -> None:
    subscription = _past_due(shop)
    shop.fake.advance(days=14, seconds=-1)
    assert (shop.now(subscription).status, shop.invoice(subscription).attempt_count) == ("past_due", 7)
    shop.fake.advance(seconds=1)
    found = shop.now(subscription)
    assert (found.status, found.ended_at, found.cancellation_details.reason) == (
        "canceled",
        FIRST_TRY + 14 * DAY,
        "payment_failed",
    )
    assert (shop.invoice(subscription).status, shop.invoice(subscription).attempt_count) == ("open", 8)


@pytest.mark.parametrize(
    ("action", "status"), [("unpaid", "unpaid"), ("past_due", "past_due"), ("pause", "paused")]
)
def test_what_happens_in_the_end_can_be_set(shop: Shop, action: str, status: str) -> None:
    shop.fake.control("policy", final_action=action, retry_after_days=[1, 2])
    subscription = _past_due(shop)
    shop.fake.advance(days=3)
    found = shop.now(subscription)
    assert (found.status, shop.invoice(subscription).attempt_count) == (status, 3)
    if status == "paused":
        assert found.status_details.paused.subscription.type == "final_payment_failure"


def test_an_unpaid_one_gets_drafts_and_is_active_when_all_is_paid(shop: Shop) -> None:
    shop.fake.control("policy", final_action="unpaid", retry_after_days=[])
    subscription = _past_due(shop)
    assert subscription.status == "unpaid"
    shop.fake.advance(days=31)
    draft = shop.invoice(subscription)
    assert (draft.status, draft.auto_advance) == ("draft", False)
    shop.card(subscription, "succeeds")
    shop.v1.invoices.pay(subscription.latest_invoice)
    assert shop.now(subscription).status == "active"
    assert shop.v1.invoices.update(draft.id, {"auto_advance": True}).auto_advance is True
    shop.fake.advance(seconds=HOUR)
    assert shop.invoice(subscription).status == "paid"


def test_a_first_failure_can_pause_it(shop: Shop) -> None:
    shop.fake.control("policy", first_failure="pause")
    subscription = _past_due(shop)
    assert subscription.status == "paused"
    assert subscription.status_details.paused.subscription.type == "first_payment_failure"


@pytest.mark.parametrize("behaviour", ["lost_card", "stolen_card", "requires_authentication"])
def test_after_a_hard_decline_stripe_tries_no_more_and_gives_up_in_time(shop: Shop, behaviour: str) -> None:
    subscription = _past_due(shop, behaviour)
    invoice = shop.invoice(subscription)
    assert (invoice.attempt_count, invoice.next_payment_attempt) == (1, None)
    shop.fake.advance(days=13)
    assert (shop.now(subscription).status, shop.invoice(subscription).attempt_count) == ("past_due", 1)
    shop.fake.advance(days=1)
    assert shop.now(subscription).status == "canceled"


def test_a_bank_that_asks_is_told_as_an_action_and_the_hosted_page_answers(shop: Shop) -> None:
    subscription = _past_due(shop, "requires_authentication")
    assert _intent(shop, subscription).status == "requires_action"
    assert "invoice.payment_action_required" in shop.types()
    invoice = shop.invoice(subscription)
    answered = shop.click(invoice.hosted_invoice_url, card="pm_card_authenticationRequired")
    assert answered.status_code == 303
    assert (shop.now(subscription).status, shop.invoice(subscription).status) == ("active", "paid")


def test_without_a_card_there_is_no_next_try(shop: Shop) -> None:
    subscription = shop.subscribe()
    customer = shop.v1.customers.retrieve(subscription.customer)
    shop.v1.payment_methods.detach(customer.invoice_settings.default_payment_method)
    shop.fake.advance(to=FIRST_TRY)
    invoice = shop.invoice(subscription)
    assert (shop.now(subscription).status, invoice.next_payment_attempt) == ("past_due", None)
    shop.fake.control(f"customers/{subscription.customer}/card", card="pm_card_visa")
    assert shop.v1.invoices.pay(invoice.id).status == "paid"
    assert shop.now(subscription).status == "active"


@pytest.mark.parametrize(
    ("behaviour", "code", "decline_code"),
    [
        ("generic_decline", "card_declined", "generic_decline"),
        ("insufficient_funds", "card_declined", "insufficient_funds"),
        ("stolen_card", "card_declined", "stolen_card"),
        ("expired_card", "expired_card", "expired_card"),
        ("requires_authentication", "authentication_required", "authentication_required"),
    ],
)
def test_paying_now_with_a_bad_card_is_a_402_and_counts_as_a_try(
    shop: Shop, behaviour: str, code: str, decline_code: str
) -> None:
    subscription = _past_due(shop)
    shop.card(subscription, behaviour)
    before = shop.invoice(subscription)
    with pytest.raises(stripe.CardError) as caught:
        shop.v1.invoices.pay(before.id)
    assert (caught.value.http_status, caught.value.code) == (402, code)
    assert caught.value.json_body["error"]["decline_code"] == decline_code
    after = shop.invoice(subscription)
    assert (after.status, after.attempt_count) == ("open", 2)
    assert after.next_payment_attempt == before.next_payment_attempt


def test_it_can_be_paid_with_another_card(shop: Shop) -> None:
    subscription = _past_due(shop)
    other = shop.v1.payment_methods.create(
        {"type": "card", "card": {"number": "5555555555554444", "exp_month": 1, "exp_year": 2040}}
    )
    assert other.card.brand == "mastercard"
    shop.v1.payment_methods.attach(other.id, {"customer": subscription.customer})
    assert shop.v1.invoices.pay(subscription.latest_invoice, {"payment_method": other.id}).status == "paid"


def test_a_paid_invoice_is_not_paid_again(shop: Shop) -> None:
    subscription = shop.subscribe()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.v1.invoices.pay(subscription.latest_invoice)
    assert caught.value.code == "invoice_already_paid"


@pytest.mark.parametrize(
    ("verb", "status"), [("void_invoice", "void"), ("mark_uncollectible", "uncollectible")]
)
def test_an_open_invoice_can_be_closed_and_is_tried_no_more(shop: Shop, verb: str, status: str) -> None:
    subscription = _past_due(shop)
    getattr(shop.v1.invoices, verb)(subscription.latest_invoice)
    shop.fake.advance(days=15)
    invoice = shop.invoice(subscription)
    assert (invoice.status, invoice.attempt_count) == (status, 1)
    assert ("status_details" in invoice) is (status == "uncollectible")
    if status == "void":
        with pytest.raises(stripe.InvalidRequestError):
            shop.v1.invoices.pay(invoice.id)


def test_a_draft_can_be_finalized_before_its_hour(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.fake.advance(days=28)
    draft = shop.invoice(subscription)
    assert (draft.status, draft.number, draft.hosted_invoice_url) == ("draft", None, None)
    opened = shop.v1.invoices.finalize_invoice(draft.id)
    assert (opened.status, opened.status_transitions.finalized_at) == ("open", NOW + 28 * DAY)
    assert shop.v1.invoices.pay(draft.id).status == "paid"
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.invoices.finalize_invoice(draft.id)


def test_a_downgrade_now_is_a_credit_that_the_next_invoice_uses(shop: Shop) -> None:
    subscription = shop.subscribe(shop.scale)
    shop.fake.advance(days=14)
    shop.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item(subscription).id, "price": shop.pro}], "proration_behavior": "always_invoice"},
    )
    credit = shop.invoice(subscription)
    assert (credit.total, credit.amount_due, credit.status, credit.ending_balance) == (
        -1_500,
        0,
        "paid",
        -1_500,
    )
    assert shop.v1.customers.retrieve(subscription.customer).balance == -1_500
    shop.fake.advance(days=14, seconds=HOUR)
    assert (shop.invoice(subscription).total, shop.invoice(subscription).amount_paid) == (2_000, 500)
    assert shop.v1.customers.retrieve(subscription.customer).balance == 0


def test_lists_are_filtered_by_status_and_subscription(shop: Shop) -> None:
    subscription = _past_due(shop)
    other = shop.subscribe()
    found = shop.v1.invoices.list({"subscription": subscription.id, "status": "open"})
    assert [one.id for one in found.data] == [subscription.latest_invoice]
    assert len(shop.v1.invoices.list({"subscription": subscription.id}).data) == 2
    assert [one.status for one in shop.v1.invoices.list({"customer": other.customer}).data] == ["paid"]
    assert len(shop.v1.invoices.line_items.list(subscription.latest_invoice).data) == 1
