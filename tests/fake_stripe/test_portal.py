"""The customer portal: what its buttons do."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from tests.fake_stripe.shop import DAY, NOW, Shop, item


def _configure(shop: Shop, **changes: Any) -> Any:
    update = {
        "enabled": True,
        "default_allowed_updates": ["price"],
        "products": [{"product": shop.product, "prices": [shop.pro, shop.scale]}],
        "proration_behavior": "always_invoice",
        "schedule_at_period_end": {"conditions": [{"type": "decreasing_item_amount"}]},
    }
    features = {
        "subscription_update": update,
        "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
        "payment_method_update": {"enabled": True},
        "invoice_history": {"enabled": True},
        "customer_update": {"enabled": True, "allowed_updates": ["email", "tax_id"]},
    }
    return shop.v1.billing_portal.configurations.create({"features": features | changes})


def _open(shop: Shop, subscription: Any) -> str:
    session = shop.v1.billing_portal.sessions.create(
        {"customer": subscription.customer, "return_url": "https://example.com/account"}
    )
    url: str = session.url
    return url


def test_without_a_configuration_there_is_no_portal(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="default configuration"):
        shop.v1.billing_portal.sessions.create({"customer": shop.customer()})


def test_a_configuration_says_what_it_was_told(shop: Shop) -> None:
    made = _configure(shop)
    assert made.is_default is True
    changed = shop.v1.billing_portal.configurations.update(
        made.id, {"features": {"subscription_cancel": {"enabled": False}}, "metadata": {"a": "b"}}
    )
    assert changed.features.subscription_cancel.enabled is False
    assert changed.features.subscription_update.products[0].prices == [shop.pro, shop.scale]
    assert [one.id for one in shop.v1.billing_portal.configurations.list({"is_default": True}).data] == [
        made.id
    ]
    assert _configure(shop).is_default is False


def test_the_page_shows_the_subscription_the_card_and_the_invoices(shop: Shop) -> None:
    _configure(shop)
    subscription = shop.subscribe()
    page = httpx.get(_open(shop, subscription), trust_env=False).text
    for part in (
        "active",
        "visa •••• 4242",
        shop.invoice(subscription).number,
        "https://example.com/account",
    ):
        assert part in page


def test_cancelling_for_the_end_sets_cancel_at_alone_and_can_be_undone(shop: Shop) -> None:
    _configure(shop)
    subscription = shop.subscribe()
    url = _open(shop, subscription)
    assert shop.click(url, action="cancel_later", subscription=subscription.id).status_code == 303
    ends = shop.now(subscription)
    assert (ends.cancel_at, ends.cancel_at_period_end) == (NOW + 28 * DAY, False)
    shop.click(url, action="keep", subscription=subscription.id)
    assert shop.now(subscription).cancel_at is None


def test_cancelling_now_ends_it_now(shop: Shop) -> None:
    _configure(shop)
    subscription = shop.subscribe()
    shop.click(_open(shop, subscription), action="cancel_now", subscription=subscription.id)
    assert shop.now(subscription).status == "canceled"


def test_an_upgrade_holds_at_once(shop: Shop) -> None:
    _configure(shop)
    subscription = shop.subscribe()
    url = _open(shop, subscription)
    assert (
        shop.click(url, action="change_price", subscription=subscription.id, price=shop.scale).status_code
        == 303
    )
    assert item(shop.now(subscription)).price.id == shop.scale
    assert shop.invoice(subscription).billing_reason == "subscription_update"


def test_an_upgrade_with_a_bad_card_changes_nothing(shop: Shop) -> None:
    _configure(shop)
    subscription = shop.subscribe()
    shop.card(subscription, "insufficient_funds")
    url = _open(shop, subscription)
    answer = shop.click(url, action="change_price", subscription=subscription.id, price=shop.scale)
    assert answer.status_code == 402
    assert "insufficient funds" in answer.text
    assert item(shop.now(subscription)).price.id == shop.pro


def test_a_downgrade_waits_for_the_end_of_the_period_and_can_be_undone(shop: Shop) -> None:
    _configure(shop)
    subscription = shop.subscribe(shop.scale)
    url = _open(shop, subscription)
    change = {"action": "change_price", "subscription": subscription.id, "price": shop.pro}
    shop.click(url, **change)
    assert item(shop.now(subscription)).price.id == shop.scale
    assert shop.now(subscription).schedule is not None
    shop.click(url, action="keep", subscription=subscription.id)
    assert shop.now(subscription).schedule is None
    shop.click(url, **change)
    shop.fake.advance(days=28)
    assert item(shop.now(subscription)).price.id == shop.pro


def test_a_new_card_is_the_default_and_pays_from_now_on(shop: Shop) -> None:
    _configure(shop)
    subscription = shop.subscribe()
    shop.click(_open(shop, subscription), action="change_card", card="pm_card_mastercard")
    customer = shop.v1.customers.retrieve(
        subscription.customer, {"expand": ["invoice_settings.default_payment_method"]}
    )
    assert customer.invoice_settings.default_payment_method.card.brand == "mastercard"
    assert {"payment_method.attached", "customer.updated"} <= set(shop.types())


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "give_it_for_free"},
        {"action": "change_card", "card": "none"},
        {"action": "change_card", "card": "pm_card_chargeDeclined"},
        {"action": "cancel_now", "subscription": "sub_none"},
        {"action": "change_price", "price": "price_none"},
    ],
)
def test_a_form_that_no_button_sends_is_refused_with_a_page(shop: Shop, fields: dict[str, str]) -> None:
    _configure(shop)
    subscription = shop.subscribe()
    answer = shop.click(_open(shop, subscription), **{"subscription": subscription.id, **fields})
    assert answer.status_code in (400, 402)
    assert 'role="alert"' in answer.text
    assert shop.now(subscription).status == "active"


def test_somebody_elses_subscription_is_out_of_reach(shop: Shop) -> None:
    _configure(shop)
    mine, other = shop.subscribe(), shop.subscribe()
    answer = shop.click(_open(shop, mine), action="cancel_now", subscription=other.id)
    assert answer.status_code == 400
    assert shop.now(other).status == "active"


def test_a_price_that_is_not_offered_cannot_be_had(shop: Shop) -> None:
    _configure(shop, subscription_update={"enabled": False, "default_allowed_updates": []})
    subscription = shop.subscribe()
    url = _open(shop, subscription)
    answer = shop.click(url, action="change_price", subscription=subscription.id, price=shop.scale)
    assert answer.status_code == 400
    assert item(shop.now(subscription)).price.id == shop.pro


def test_pausing_and_resuming_are_buttons_where_they_are_enabled(shop: Shop) -> None:
    _configure(shop, subscription_pause={"enabled": True})
    subscription = shop.subscribe()
    url = _open(shop, subscription)
    assert "Pause" in httpx.get(url, trust_env=False).text
    shop.click(url, action="pause", subscription=subscription.id)
    assert shop.now(subscription).status == "paused"
    shop.click(url, action="resume", subscription=subscription.id)
    assert shop.now(subscription).status == "active"
