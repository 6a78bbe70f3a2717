"""Meters: what counts, what is refused, and what an invoice makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.fake_stripe.shop import DAY, HOUR, NOW, Shop


def _send(shop: Shop, customer: str, value: object = 1, **params: Any) -> Any:
    payload = {"stripe_customer_id": customer, "value": str(value)}
    return shop.v1.billing.meter_events.create({"event_name": "units", "payload": payload, **params})


def _sum(
    shop: Shop, customer: str, start: int = NOW - DAY, end: int = NOW + DAY, **params: Any
) -> list[float]:
    span = {"customer": customer, "start_time": start, "end_time": end}
    summaries = shop.v1.billing.meters.event_summaries.list(shop.meter, {**span, **params})
    return [one.aggregated_value for one in summaries.data]


def test_what_is_sent_is_summed(shop: Shop) -> None:
    customer, other = shop.customer(), shop.customer()
    for value in (3, 4):
        _send(shop, customer, value)
    _send(shop, other, 100)
    assert _sum(shop, customer) == [7.0]


def test_a_second_event_with_an_identifier_is_refused_for_24_hours_and_counts_once(shop: Shop) -> None:
    customer = shop.customer()
    _send(shop, customer, 5, identifier="af:1")
    shop.fake.advance(seconds=DAY - 1)
    with pytest.raises(
        stripe.InvalidRequestError, match="An event already exists with identifier af:1"
    ) as caught:
        _send(shop, customer, 5, identifier="af:1", timestamp=NOW)
    assert caught.value.http_status == 400
    assert caught.value.headers["stripe-should-retry"] == "false"
    assert _sum(shop, customer) == [5.0]
    shop.fake.advance(seconds=1)
    _send(shop, customer, 5, identifier="af:1", timestamp=NOW)
    assert _sum(shop, customer) == [10.0]  # after its window an identifier protects no more


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"timestamp": NOW - 35 * DAY - 1}, "timestamp_too_far_in_past"),
        ({"timestamp": NOW + 301}, "timestamp_in_future"),
        ({"value": "many"}, "meter_event_invalid_value"),
        ({"value": "nan"}, "meter_event_invalid_value"),
        ({"event_name": "none"}, "no_meter"),
        ({"identifier": "x" * 101}, None),
    ],
)
def test_what_cannot_count_is_refused(shop: Shop, params: dict[str, Any], code: str | None) -> None:
    customer = shop.customer()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        _send(shop, customer, **params)
    assert (caught.value.http_status, caught.value.code) == (400, code)
    assert _sum(shop, customer) == [0.0]


def test_the_oldest_and_the_latest_moment_still_count(shop: Shop) -> None:
    customer = shop.customer()
    _send(shop, customer, timestamp=NOW - 35 * DAY)
    _send(shop, customer, timestamp=NOW + 300)
    assert _sum(shop, customer, NOW - 36 * DAY) == [2.0]


def test_summaries_come_by_hour_and_leave_out_what_is_empty(shop: Shop) -> None:
    customer = shop.customer()
    for moment in (NOW - 3 * HOUR, NOW - 3 * HOUR + 1, NOW - HOUR):
        _send(shop, customer, timestamp=moment)
    assert _sum(shop, customer, NOW - 4 * HOUR, NOW, value_grouping_window="hour") == [1.0, 2.0]
    with pytest.raises(stripe.InvalidRequestError, match="align"):
        _sum(shop, customer, NOW - 90, NOW, value_grouping_window="hour")


def test_an_event_can_be_cancelled_within_a_day(shop: Shop) -> None:
    customer = shop.customer()
    _send(shop, customer, 5, identifier="af:1")
    cancel = {"event_name": "units", "type": "cancel", "cancel": {"identifier": "af:1"}}
    assert shop.v1.billing.meter_event_adjustments.create(cancel).status == "pending"
    assert _sum(shop, customer) == [0.0]
    _send(shop, customer, 5, identifier="af:2")
    shop.fake.advance(days=1, seconds=1)
    with pytest.raises(stripe.InvalidRequestError, match="24 hours"):
        shop.v1.billing.meter_event_adjustments.create(cancel | {"cancel": {"identifier": "af:2"}})


def test_a_deactivated_meter_counts_no_more(shop: Shop) -> None:
    assert shop.v1.billing.meters.deactivate(shop.meter).status == "inactive"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        _send(shop, shop.customer())
    assert caught.value.code == "archived_meter"
    assert shop.v1.billing.meters.reactivate(shop.meter).status == "active"


@pytest.mark.parametrize(("formula", "total"), [("count", 2.0), ("last", 4.0), ("sum", 7.0)])
def test_a_meter_counts_as_it_was_defined(shop: Shop, formula: str, total: float) -> None:
    meter = shop.v1.billing.meters.create(
        {"display_name": "M", "event_name": formula, "default_aggregation": {"formula": formula}}
    )
    customer = shop.customer()
    for place, value in enumerate((3, 4)):
        _send(shop, customer, value, event_name=formula, timestamp=NOW + place)
    span = {"customer": customer, "start_time": NOW, "end_time": NOW + 60}
    (found,) = shop.v1.billing.meters.event_summaries.list(meter.id, span).data
    assert found.aggregated_value == total


def test_usage_is_billed_when_the_period_ends(shop: Shop) -> None:
    customer = shop.customer()
    subscription = shop.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": shop.pro}, {"price": shop.metered}]}
    )
    _send(shop, customer, 301)
    shop.fake.advance(days=28, seconds=HOUR)
    invoice = shop.invoice(subscription)
    assert [line.amount for line in invoice.lines.data] == [151, 2_000]  # 150.5 cents, half up
    assert invoice.lines.data[0].period.end == NOW + 28 * DAY
    assert invoice.amount_paid == 2_151


def test_usage_that_is_told_of_before_the_draft_is_finalized_is_on_it(shop: Shop) -> None:
    customer = shop.customer()
    subscription = shop.subscribe(shop.metered, customer=customer)
    shop.fake.advance(days=28)
    assert shop.invoice(subscription).total == 0
    _send(shop, customer, 100, timestamp=NOW + 28 * DAY - 1)
    _send(shop, customer, 7)  # of the next period
    shop.fake.advance(seconds=HOUR)
    invoice = shop.invoice(subscription)
    assert (invoice.total, invoice.amount_paid, invoice.lines.data[0].quantity) == (50, 50, 100)


def test_usage_is_billed_when_the_subscription_ends(shop: Shop) -> None:
    customer = shop.customer()
    subscription = shop.subscribe(shop.metered, customer=customer)
    _send(shop, customer, 1_000)
    shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    shop.fake.advance(days=28, seconds=HOUR)
    assert shop.now(subscription).status == "canceled"
    assert shop.invoice(subscription).amount_paid == 500


def test_tiers_and_packages_have_their_price(shop: Shop) -> None:
    by_usage = {"interval": "month", "usage_type": "metered", "meter": shop.meter}
    metered = {"product": shop.product, "currency": "usd", "recurring": by_usage}
    tiers = [{"up_to": 100, "unit_amount": 2}, {"up_to": "inf", "unit_amount": 1, "flat_amount": 50}]
    prices = {
        "graduated": {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers},
        "volume": {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": tiers},
        "packages": {"unit_amount": 100, "transform_quantity": {"divide_by": 100, "round": "up"}},
    }
    amounts = {}
    for name, params in prices.items():
        customer = shop.customer()
        price = shop.v1.prices.create(metered | params)
        subscription = shop.subscribe(price.id, customer=customer)
        _send(shop, customer, 150)
        amounts[name] = subscription
    shop.fake.advance(days=28)
    billed = {name: shop.invoice(subscription).total for name, subscription in amounts.items()}
    assert billed == {"graduated": 100 * 2 + 50 + 50, "volume": 150 + 50, "packages": 200}
