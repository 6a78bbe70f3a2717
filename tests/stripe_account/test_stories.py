"""Stories that a real test account and our stand-in have to tell alike.

Without STRIPE_TEST_KEY they are told by the stand-in. With it, they go to Stripe: that takes minutes, makes
test objects there, and puts them away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.stripe_account.account import Account, Clock, opened

HOUR = 3_600


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with opened() as found:
        yield found


@pytest.fixture
def clock(account: Account) -> Clock:
    return account.clock()


def _subscribe(account: Account, customer: str, price: str) -> Any:
    return account.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]})


def _item(subscription: Any) -> Any:
    (found,) = subscription["items"].data
    return found


def _latest(account: Account, subscription: Any) -> Any:
    return account.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]}).latest_invoice


def test_a_good_card_makes_a_subscription_active_and_its_invoice_paid(account: Account, clock: Clock) -> None:
    subscription = _subscribe(account, clock.customer(), account.price(2_000))
    invoice = _latest(account, subscription)
    assert (subscription.status, invoice.status, invoice.amount_paid) == ("active", "paid", 2_000)
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert _item(subscription).current_period_start == subscription.start_date


def test_a_refused_renewal_is_past_due_and_a_good_card_makes_it_active(
    account: Account, clock: Clock
) -> None:
    customer = clock.customer()
    subscription = _subscribe(account, customer, account.price(2_000))
    clock.use_card(customer, "pm_card_chargeCustomerFail")
    clock.advance(_item(subscription).current_period_end + 2 * HOUR)
    found, invoice = account.v1.subscriptions.retrieve(subscription.id), _latest(account, subscription)
    assert (found.status, invoice.status, invoice.attempt_count) == ("past_due", "open", 1)
    assert invoice.next_payment_attempt is not None
    assert invoice.billing_reason == "subscription_cycle"
    with pytest.raises(stripe.CardError):
        account.v1.invoices.pay(invoice.id)
    clock.use_card(customer, "pm_card_visa")
    assert account.v1.invoices.pay(invoice.id).status == "paid"
    assert account.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_first_card_that_fails_leaves_it_incomplete(account: Account, clock: Clock) -> None:
    customer = clock.customer("pm_card_chargeCustomerFail")
    price = account.price(2_000)
    assert _subscribe(account, customer, price).status == "incomplete"
    with pytest.raises(stripe.CardError):
        account.v1.subscriptions.create(
            {"customer": customer, "items": [{"price": price}], "payment_behavior": "error_if_incomplete"}
        )


def test_an_upgrade_is_invoiced_at_once_and_keeps_item_and_period(account: Account, clock: Clock) -> None:
    subscription = _subscribe(account, clock.customer(), account.price(2_000))
    before = _item(subscription)
    changed = account.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": before.id, "price": account.price(5_000)}], "proration_behavior": "always_invoice"},
    )
    after, invoice = _item(changed), _latest(account, subscription)
    assert (after.id, after.current_period_end) == (before.id, before.current_period_end)
    assert (invoice.billing_reason, invoice.total) == ("subscription_update", 3_000)
    assert all(line.parent.subscription_item_details.proration for line in invoice.lines.data)


def test_an_upgrade_that_waits_for_its_payment_changes_nothing_yet(account: Account, clock: Clock) -> None:
    customer, price = clock.customer(), account.price(2_000)
    subscription = _subscribe(account, customer, price)
    clock.use_card(customer, "pm_card_chargeCustomerFail")
    changed = account.v1.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": _item(subscription).id, "price": account.price(5_000)}],
            "proration_behavior": "always_invoice",
            "payment_behavior": "pending_if_incomplete",
        },
    )
    assert (changed.status, _item(changed).price.id) == ("active", price)
    assert changed.pending_update is not None


def test_it_ends_with_its_period_when_it_was_told_to(account: Account, clock: Clock) -> None:
    subscription = _subscribe(account, clock.customer(), account.price(2_000))
    ends = account.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert (ends.status, ends.cancel_at) == ("active", _item(subscription).current_period_end)
    clock.advance(ends.cancel_at + HOUR)
    found = account.v1.subscriptions.retrieve(subscription.id)
    assert (found.status, found.ended_at) == ("canceled", ends.cancel_at)


def test_a_trial_without_a_card_can_pause(account: Account, clock: Clock) -> None:
    customer = account.v1.customers.create({"test_clock": clock.name}).id
    subscription = account.v1.subscriptions.create(
        {
            "customer": customer,
            "items": [{"price": account.price(2_000)}],
            "trial_period_days": 7,
            "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        }
    )
    assert subscription.status == "trialing"
    clock.advance(subscription.trial_end + HOUR)
    found = account.v1.subscriptions.retrieve(subscription.id)
    assert found.status == "paused"
    assert found.status_details.paused.subscription.type == "trial_end_without_payment_method"


def test_a_lookup_key_is_handed_on(account: Account) -> None:
    key = f"plan_{account.run}"
    first = account.price(1_000, lookup_key=key)
    second = account.price(2_000, lookup_key=key, transfer_lookup_key=True)
    assert [price.id for price in account.v1.prices.list({"lookup_keys": [key]}).data] == [second]
    assert account.v1.prices.retrieve(first).lookup_key is None


def test_a_key_belongs_to_its_first_parameters(account: Account) -> None:
    key = {"idempotency_key": f"customer-{account.run}"}
    made = account.v1.customers.create({"name": "a"}, key)
    assert account.v1.customers.create({"name": "a"}, key).id == made.id
    with pytest.raises(stripe.IdempotencyError):
        account.v1.customers.create({"name": "b"}, key)
    account.v1.customers.delete(made.id)


def test_a_meter_counts_an_identifier_once(account: Account) -> None:
    name = f"units_{account.run}"
    meter = account.v1.billing.meters.create(
        {"display_name": name, "event_name": name, "default_aggregation": {"formula": "sum"}}
    )
    customer = account.v1.customers.create({}).id
    event = {
        "event_name": name,
        "identifier": f"once-{account.run}",
        "payload": {"stripe_customer_id": customer, "value": "5"},
    }
    account.v1.billing.meter_events.create(event)
    with pytest.raises(stripe.InvalidRequestError, match="An event already exists with identifier"):
        account.v1.billing.meter_events.create(event)
    account.v1.billing.meters.deactivate(meter.id)
    account.v1.customers.delete(customer)


def test_checkout_gives_an_address_and_says_what_it_was_told(account: Account) -> None:
    session = account.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": account.price(2_000), "quantity": 1}],
            "success_url": "https://example.com/thanks?session={CHECKOUT_SESSION_ID}",
            "client_reference_id": "acc_1",
            "subscription_data": {"metadata": {"account_id": "acc_1"}},
        }
    )
    assert (session.status, session.payment_status, session.client_reference_id) == (
        "open",
        "unpaid",
        "acc_1",
    )
    assert session.url.startswith("http")
    assert account.v1.checkout.sessions.expire(session.id).status == "expired"


def test_an_endpoint_tells_its_secret_once(account: Account) -> None:
    url = f"https://example.com/hooks/{account.run}"
    made = account.v1.webhook_endpoints.create(
        {"url": url, "enabled_events": ["invoice.paid"], "api_version": "2026-10-28.endive"}
    )
    found = account.v1.webhook_endpoints.retrieve(made.id)
    assert made.secret.startswith("whsec_")
    assert (found.url, found.api_version, found.enabled_events) == (
        url,
        "2026-10-28.endive",
        ["invoice.paid"],
    )
    assert "secret" not in found
    assert account.v1.webhook_endpoints.delete(made.id).deleted is True


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (lambda v1: v1.customers.retrieve("cus_none"), 404, "resource_missing"),
        (lambda v1: v1.products.create({}), 400, "parameter_missing"),
        (lambda v1: v1.products.create({"name": "a", "colour": "red"}), 400, "parameter_unknown"),
    ],
)
def test_what_is_wrong_is_refused_with_its_code(account: Account, call: Any, status: int, code: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        call(account.v1)
    assert (caught.value.http_status, caught.value.code) == (status, code)
