"""The shape guard itself, and that every kind of object and event passes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fake_stripe.process import FakeStripe
from tests.fake_stripe.shape import problems
from tests.fake_stripe.shop import HOUR, Shop, item

KINDS = {
    "account",
    "billing.meter",
    "billing.meter_event",
    "billing.meter_event_adjustment",
    "billing.meter_event_summary",
    "billing_portal.configuration",
    "billing_portal.session",
    "checkout.session",
    "customer",
    "event",
    "invoice",
    "invoice_payment",
    "item",
    "line_item",
    "payment_intent",
    "payment_method",
    "plan",
    "price",
    "product",
    "subscription",
    "subscription_item",
    "subscription_schedule",
    "webhook_endpoint",
}


def _customer(fake: FakeStripe) -> dict[str, Any]:
    found: dict[str, Any] = fake.v1.customers.create({}).last_response.data
    return found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"created": None}, "customer.created is None, which is no int"),
        ({"created": True}, "customer.created is True, which is no int"),
        ({"livemode": "no"}, "customer.livemode is 'no', which is no bool"),
        ({"colour": "red"}, "customer.colour is unknown"),
        ({"object": "client"}, "it is a client, which the package does not know"),
        ({"tax_exempt": "maybe"}, "customer.tax_exempt is 'maybe', none of ('exempt', 'none', 'reverse')"),
        ({"preferred_locales": "en"}, "customer.preferred_locales is 'en', no list"),
        ({"preferred_locales": [1]}, "customer.preferred_locales[0] is 1, which is no str"),
        ({"metadata": []}, "customer.metadata is [], no mapping"),
        ({"invoice_settings": {"colour": 1}}, "customer.invoice_settings.colour is unknown"),
        ({"invoice_settings": "none"}, "customer.invoice_settings is 'none', no InvoiceSettings"),
    ],
)
def test_the_guard_names_what_is_wrong(fake: FakeStripe, change: dict[str, Any], sentence: str) -> None:
    customer = _customer(fake)
    assert problems(customer) == []
    assert problems(customer | change) == [sentence]


def test_the_guard_misses_a_field_that_has_to_be_there(fake: FakeStripe) -> None:
    customer = _customer(fake)
    del customer["livemode"]
    assert problems(customer) == ["customer.livemode is missing"]


def test_the_guard_looks_into_events(shop: Shop) -> None:
    shop.subscribe()
    data = shop.v1.events.list({"type": "customer.subscription.updated"}).last_response.data["data"][0]
    assert problems(data) == []
    del data["data"]["object"]["items"]["data"][0]["current_period_end"]
    data["data"]["previous_attributes"]["current_period_end"] = 1
    assert problems(data) == [
        "event.data.object.items[0].current_period_end is missing",
        "event.data.previous_attributes.current_period_end is unknown",
    ]


def test_every_kind_of_object_and_event_passes(shop: Shop) -> None:
    seen: set[str] = set()
    for answer in _tour(shop):
        found = problems(answer)
        assert not found, found
        seen |= _kinds(answer)
    assert seen == KINDS


def _tour(shop: Shop) -> list[dict[str, Any]]:
    """Live through everything there is, and return the answers of all resources."""
    customer = shop.customer()
    made = _purchases(shop, customer)
    _troubles(shop)
    subscription = shop.v1.subscriptions.list({"customer": customer}).data[0]
    made += _lists(shop, customer, subscription) + _single_ones(shop, subscription)
    return [one.last_response.data for one in made] + _events(shop)


def _purchases(shop: Shop, customer: str) -> list[Any]:
    v1 = shop.v1
    reason = {"enabled": True, "options": ["unused"]}
    features = {"subscription_cancel": {"enabled": True, "cancellation_reason": reason}}
    configuration = v1.billing_portal.configurations.create({"features": features})
    lines = [{"price": shop.pro, "quantity": 1}, {"price": shop.metered}]
    session = v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": customer,
            "success_url": "https://a.example",
            "line_items": lines,
        }
    )
    bought = shop.fake.pay(session.id)["subscription"]
    flow = {"type": "subscription_cancel", "subscription_cancel": {"subscription": bought}}
    portal = v1.billing_portal.sessions.create({"customer": customer, "flow_data": flow})
    payload = {"stripe_customer_id": customer, "value": "5"}
    counted = v1.billing.meter_events.create({"event_name": "units", "payload": payload, "identifier": "a"})
    cancel = {"event_name": "units", "type": "cancel", "cancel": {"identifier": "a"}}
    return [configuration, session, portal, counted, v1.billing.meter_event_adjustments.create(cancel)]


def _lists(shop: Shop, customer: str, subscription: Any) -> list[Any]:
    v1, now = shop.v1, shop.fake.look()["now"] // HOUR * HOUR
    span = {"customer": customer, "start_time": now - HOUR, "end_time": now + HOUR}
    return [
        v1.customers.list({"expand": ["data.subscriptions"]}),
        v1.products.list(),
        v1.prices.list({"expand": ["data.tiers", "data.product"]}),
        v1.payment_methods.list({"customer": customer}),
        v1.customers.payment_methods.list(customer),
        v1.payment_intents.list(),
        v1.invoice_payments.list(),
        v1.invoices.list(),
        v1.invoices.line_items.list(subscription.latest_invoice),
        v1.subscriptions.list({"status": "all"}),
        v1.subscription_items.list({"subscription": subscription.id}),
        v1.subscription_schedules.list(),
        v1.checkout.sessions.list(),
        v1.checkout.sessions.line_items.list(v1.checkout.sessions.list().data[0].id),
        v1.billing.meters.list(),
        v1.billing.meters.event_summaries.list(shop.meter, span),
        v1.billing_portal.configurations.list(),
    ]


def _single_ones(shop: Shop, subscription: Any) -> list[Any]:
    v1 = shop.v1
    expand = ["payments.data.payment.payment_intent", "confirmation_secret", "customer"]
    return [
        v1.webhook_endpoints.create({"url": "http://127.0.0.1:9", "enabled_events": ["*"]}),
        v1.webhook_endpoints.list(),
        v1.invoices.retrieve(subscription.latest_invoice, {"expand": expand}),
        v1.subscription_items.retrieve(subscription["items"].data[0].id),
        v1.accounts.retrieve_current(),
    ]


def _troubles(shop: Shop) -> None:
    """Bring about what goes wrong, so that its events are there too."""
    failing = shop.subscribe()
    shop.v1.subscription_schedules.create({"from_subscription": failing.id})
    shop.card(failing, "requires_authentication")
    upgrade = {
        "items": [{"id": item(failing).id, "price": shop.scale}],
        "proration_behavior": "always_invoice",
    }
    shop.v1.subscriptions.update(failing.id, {**upgrade, "payment_behavior": "pending_if_incomplete"})
    shop.subscribe(customer=shop.customer("pm_card_chargeCustomerFail"))
    paused = shop.subscribe()
    shop.v1.subscriptions.pause(paused.id)
    shop.v1.subscriptions.resume(paused.id)
    shop.v1.subscriptions.cancel(shop.subscribe(trial_period_days=2).id)
    shop.fake.advance(days=29)


def _events(shop: Shop) -> list[dict[str, Any]]:
    found, last = [], None
    while True:
        params = {"limit": 100} | ({"starting_after": last} if last else {})
        page = shop.v1.events.list(params).last_response.data
        found.append(page)
        if not page["has_more"]:
            return found
        last = page["data"][-1]["id"]


def _kinds(value: Any) -> set[str]:
    if isinstance(value, list):
        return {kind for part in value for kind in _kinds(part)}
    if not isinstance(value, dict):
        return set()
    own = value.get("object")
    inner = {kind for part in value.values() for kind in _kinds(part)}
    return inner | ({own} if isinstance(own, str) and own != "list" else set())
