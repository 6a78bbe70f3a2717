"""What is sold and who buys: products, prices, customers, payment methods, schedules."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from tests.fake_stripe.shop import DAY, NOW, Shop, item


def test_a_product_can_be_renamed_archived_and_given_a_default_price(shop: Shop) -> None:
    changed = shop.v1.products.update(
        shop.product, {"name": "New", "active": False, "default_price": shop.pro, "description": "All of it"}
    )
    assert (changed.name, changed.active, changed.default_price) == ("New", False, shop.pro)
    assert shop.v1.products.list({"active": True}).data == []
    assert [one.id for one in shop.v1.products.list({"ids": [shop.product]}).data] == [shop.product]
    event = shop.v1.events.list({"type": "product.updated"}).data[0]
    assert event.data.previous_attributes.name == "API"


def test_a_product_with_prices_stays(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="has one or more"):
        shop.v1.products.delete(shop.product)
    bare = shop.v1.products.create({"id": "mine", "name": "Bare"})
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        shop.v1.products.create({"id": "mine", "name": "Again"})
    assert shop.v1.products.delete(bare.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such product"):
        shop.v1.products.retrieve(bare.id)


def test_a_price_brings_its_product(shop: Shop) -> None:
    price = shop.v1.prices.create(
        {"currency": "eur", "unit_amount": 5, "product_data": {"name": "Other"}, "nickname": "One"}
    )
    assert (price.type, price.recurring, shop.v1.products.retrieve(price.product).name) == (
        "one_time",
        None,
        "Other",
    )
    assert shop.v1.prices.update(price.id, {"active": False}).active is False
    assert [one.id for one in shop.v1.prices.list({"active": False}).data] == [price.id]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"recurring": {"interval": "month"}}, "unit_amount"),
        ({"unit_amount": -1}, "unit_amount"),
        ({"unit_amount_decimal": "much"}, "unit_amount_decimal"),
        ({"unit_amount": "much"}, "unit_amount"),
        ({"unit_amount": 1, "recurring": {"interval": "fortnight"}}, "recurring[interval]"),
        ({"unit_amount": 1, "recurring": {"interval_count": 1}}, "recurring[interval]"),
        ({"unit_amount": 1, "recurring": {"interval": "month", "usage_type": "metered"}}, "recurring[meter]"),
        ({"unit_amount": 1, "product": "prod_none"}, "product"),
        ({"unit_amount": 1, "recurring": "monthly"}, "recurring"),
    ],
)
def test_a_price_that_cannot_be_is_refused(shop: Shop, params: dict[str, Any], param: str) -> None:
    before = len(shop.v1.prices.list().data)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.v1.prices.create({"product": shop.product, "currency": "usd", **params})
    assert (caught.value.http_status, caught.value.param) == (400, param)
    assert len(shop.v1.prices.list().data) == before


def test_at_most_ten_lookup_keys_are_asked_for(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="up to 10"):
        shop.v1.prices.list({"lookup_keys": [str(number) for number in range(11)]})
    assert shop.v1.prices.update(shop.pro, {"lookup_key": ""}).lookup_key is None


def test_a_customer_comes_with_a_card_and_an_address(shop: Shop) -> None:
    made = shop.v1.customers.create(
        {"email": "a@example.com", "payment_method": "pm_card_visa", "address": {"country": "DE"}}
    )
    (method,) = shop.v1.customers.payment_methods.list(made.id).data
    assert (made.address.country, method.card.last4) == ("DE", "4242")
    assert [one.id for one in shop.v1.customers.list({"email": "a@example.com"}).data] == [made.id]
    changed = shop.v1.customers.update(
        made.id, {"invoice_settings": {"default_payment_method": method.id}, "balance": -300}
    )
    assert (changed.invoice_settings.default_payment_method, changed.balance) == (method.id, -300)
    subscription = shop.subscribe(customer=made.id)
    assert shop.invoice(subscription).amount_paid == 1_700


def test_somebody_elses_card_is_not_taken(shop: Shop) -> None:
    mine, other = shop.customer(), shop.customer(None)
    method = shop.v1.payment_methods.list({"customer": mine}).data[0].id
    refusals = (
        lambda: shop.v1.payment_methods.attach(method, {"customer": other}),
        lambda: shop.v1.customers.update(other, {"invoice_settings": {"default_payment_method": method}}),
        lambda: shop.subscribe(customer=other, default_payment_method=method),
    )
    for refused in refusals:
        with pytest.raises(stripe.InvalidRequestError):
            refused()
    assert shop.v1.payment_methods.list({"customer": other}).data == []
    assert shop.v1.payment_methods.attach(method, {"customer": mine}).customer == mine


def test_a_card_that_is_declined_at_once_cannot_be_attached(shop: Shop) -> None:
    customer = shop.customer(None)
    with pytest.raises(stripe.CardError) as caught:
        shop.v1.payment_methods.attach("pm_card_visa_chargeDeclinedInsufficientFunds", {"customer": customer})
    assert caught.value.json_body["error"]["decline_code"] == "insufficient_funds"
    assert shop.v1.payment_methods.list({"customer": customer}).data == []


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"type": "card"},
        {"type": "cash"},
        {"type": "card", "card": {"number": "4242424242424241", "exp_month": 1, "exp_year": 2040}},
        {"type": "card", "card": {"token": "tok_none"}},
    ],
)
def test_a_card_that_is_none_is_refused(shop: Shop, params: dict[str, Any]) -> None:
    with pytest.raises((stripe.InvalidRequestError, stripe.CardError)):
        shop.v1.payment_methods.create(params)


def test_a_detached_card_pays_nothing_more(shop: Shop) -> None:
    customer = shop.customer(None)
    made = shop.v1.payment_methods.create(
        {"type": "card", "card": {"token": "tok_visa"}, "metadata": {"a": "b"}}
    )
    method = shop.v1.payment_methods.attach(made.id, {"customer": customer}).id
    assert shop.v1.payment_methods.update(method, {"metadata": {"c": "d"}}).metadata.to_dict() == {
        "a": "b",
        "c": "d",
    }
    subscription = shop.subscribe(customer=customer, default_payment_method=method)
    assert subscription.status == "active"
    assert shop.v1.payment_methods.detach(method).customer is None
    assert shop.now(subscription).default_payment_method is None
    assert shop.v1.payment_methods.retrieve(method).customer is None
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        shop.v1.payment_methods.detach(method)


def test_a_subscription_pays_with_its_own_card_before_the_customers(shop: Shop) -> None:
    customer = shop.customer("pm_card_chargeCustomerFail")
    good = shop.v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    assert shop.subscribe(customer=customer, default_payment_method=good).status == "active"
    assert shop.subscribe(customer=customer).status == "incomplete"


def test_a_payment_intent_can_be_looked_up(shop: Shop) -> None:
    subscription = shop.subscribe()
    (intent,) = shop.v1.payment_intents.list({"customer": subscription.customer}).data
    assert shop.v1.payment_intents.retrieve(intent.id).amount_received == 2_000


def test_a_schedule_can_be_released_or_cancelled(shop: Shop) -> None:
    released, cancelled = shop.subscribe(), shop.subscribe()
    schedules = [
        shop.v1.subscription_schedules.create({"from_subscription": one.id}).id
        for one in (released, cancelled)
    ]
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        shop.v1.subscription_schedules.create({"from_subscription": released.id})
    assert shop.v1.subscription_schedules.release(schedules[0]).released_subscription == released.id
    assert shop.v1.subscription_schedules.cancel(schedules[1]).status == "canceled"
    assert (shop.now(released).status, shop.now(cancelled).status) == ("active", "canceled")
    with pytest.raises(stripe.InvalidRequestError, match="no longer"):
        shop.v1.subscription_schedules.release(schedules[0])
    found = shop.v1.subscription_schedules.list({"customer": released.customer}).data
    assert [one.id for one in found] == [schedules[0]]


def test_a_schedule_can_end_its_subscription(shop: Shop) -> None:
    subscription = shop.subscribe()
    schedule = shop.v1.subscription_schedules.create({"from_subscription": subscription.id}).id
    only = {"items": [{"price": shop.pro, "quantity": 2}], "start_date": NOW, "iterations": 1}
    shop.v1.subscription_schedules.update(schedule, {"phases": [only], "end_behavior": "cancel"})
    with pytest.raises(stripe.InvalidRequestError, match="items"):
        shop.v1.subscription_schedules.update(schedule, {"phases": [{"start_date": NOW}]})
    shop.fake.advance(days=29)
    assert (shop.now(subscription).status, shop.now(subscription).ended_at) == ("canceled", NOW + 28 * DAY)


def test_items_are_added_changed_and_removed(shop: Shop) -> None:
    subscription = shop.subscribe()
    first = item(subscription).id
    both = shop.v1.subscriptions.update(
        subscription.id, {"items": [{"price": shop.metered}, {"id": first, "quantity": 2}]}
    )
    assert [(one.price.id, getattr(one, "quantity", None)) for one in both["items"].data] == [
        (shop.pro, 2),
        (shop.metered, None),
    ]
    second = both["items"].data[1]
    assert shop.v1.subscription_items.retrieve(second.id).current_period_end == NOW + 28 * DAY
    one = shop.v1.subscriptions.update(subscription.id, {"items": [{"id": second.id, "deleted": True}]})
    assert item(one).id == first
    for wrong in ({"id": "si_none"}, {"id": first, "price": "price_none"}):
        with pytest.raises(stripe.InvalidRequestError):
            shop.v1.subscriptions.update(subscription.id, {"items": [wrong]})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscription_items.retrieve("si_none")


def test_an_archived_price_is_sold_no_more(shop: Shop) -> None:
    shop.v1.prices.update(shop.pro, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        shop.subscribe()


def test_the_page_of_an_invoice_shows_it_and_takes_only_a_good_card(shop: Shop) -> None:
    subscription = shop.subscribe(customer=shop.customer("pm_card_chargeCustomerFail"))
    url = shop.invoice(subscription).hosted_invoice_url
    assert "20.00 USD" in httpx.get(url, trust_env=False).text
    assert httpx.get(f"{url}/pdf", trust_env=False).text.startswith("Invoice ")
    assert shop.click(url, card="none").status_code == 400
    for card in ("pm_card_chargeDeclined", "pm_card_chargeCustomerFail"):
        assert shop.click(url, card=card).status_code == 402
    assert shop.invoice(subscription).status == "open"
    assert shop.click(url, card="pm_card_visa").status_code == 303
    assert (shop.invoice(subscription).status, shop.now(subscription).status) == ("paid", "active")
    assert shop.click(url, card="pm_card_visa").status_code == 404


def test_a_meter_can_be_renamed_and_its_event_name_is_its_own(shop: Shop) -> None:
    assert shop.v1.billing.meters.update(shop.meter, {"display_name": "Calls"}).display_name == "Calls"
    assert shop.v1.billing.meters.retrieve(shop.meter).display_name == "Calls"
    same = {"display_name": "Twin", "event_name": "units", "default_aggregation": {"formula": "sum"}}
    for wrong in (same, {"display_name": "None", "event_name": "none"}):
        with pytest.raises(stripe.InvalidRequestError):
            shop.v1.billing.meters.create(wrong)
    assert len(shop.v1.billing.meters.list({"status": "active"}).data) == 1
