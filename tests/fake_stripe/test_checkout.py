"""Checkout: the session, its page, and what a buyer can do there."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from tests.fake_stripe.shop import DAY, NOW, Shop, item

SUCCESS = "https://example.com/thanks?session={CHECKOUT_SESSION_ID}"


def _session(shop: Shop, **params: Any) -> Any:
    chosen = {
        "mode": "subscription",
        "line_items": [{"price": shop.pro, "quantity": 1}],
        "success_url": SUCCESS,
        "cancel_url": "https://example.com/plans",
        "client_reference_id": "acc_1",
        "subscription_data": {"metadata": {"account_id": "acc_1"}},
    }
    return shop.v1.checkout.sessions.create(chosen | params)


def _page(session: Any) -> httpx.Response:
    return httpx.get(session.url, trust_env=False)


def test_the_page_shows_what_is_bought_and_the_way_back(shop: Shop) -> None:
    page = _page(_session(shop))
    assert page.status_code == 200
    assert "20.00 USD" in page.text
    assert 'href="https://example.com/plans"' in page.text
    assert "This is not Stripe." in page.text


def test_paying_starts_the_subscription_and_leads_to_the_success_address(shop: Shop) -> None:
    session = _session(shop)
    answer = shop.click(session.url, card="pm_card_visa", email="new@example.com")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        SUCCESS.replace("{CHECKOUT_SESSION_ID}", session.id),
    )
    found = shop.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["subscription", "customer", "line_items"]}
    )
    assert (found.status, found.payment_status, found.client_reference_id) == ("complete", "paid", "acc_1")
    assert (found.subscription.status, found.subscription.metadata["account_id"]) == ("active", "acc_1")
    assert found.customer.email == found.customer_details.email == "new@example.com"
    assert [line.price.id for line in found.line_items.data] == [shop.pro]
    assert shop.types()[-1] == "checkout.session.completed"


def test_a_known_customer_keeps_his_id(shop: Shop) -> None:
    customer = shop.customer(None)
    session = _session(shop, customer=customer)
    assert "buyer@example.com" in _page(session).text
    assert shop.fake.pay(session.id)["customer"] == customer
    assert [one.customer for one in shop.v1.subscriptions.list().data] == [customer]


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ("pm_card_chargeDeclined", "Your card was declined."),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired"),
        ("pm_card_chargeDeclinedIncorrectCvc", "security code"),
        ("pm_card_chargeCustomerFail", "Your card was declined."),
    ],
)
def test_a_refused_card_leaves_the_session_open_and_nothing_behind(
    shop: Shop, card: str, sentence: str
) -> None:
    session = _session(shop)
    before = shop.types()
    answer = shop.click(session.url, card=card, email="new@example.com")
    assert answer.status_code == 402
    assert sentence in answer.text
    assert shop.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert shop.types() == before
    assert shop.click(session.url, card="pm_card_visa", email="new@example.com").status_code == 303


def test_a_bank_that_asks_is_answered_by_the_buyer(shop: Shop) -> None:
    session, card = _session(shop), "pm_card_authenticationRequired"
    asked = shop.click(session.url, card=card, email="new@example.com")
    assert "Your bank asks" in asked.text
    refused = shop.click(session.url, card=card, email="new@example.com", answer="no")
    assert refused.status_code == 402
    assert shop.v1.subscriptions.list().data == []
    assert shop.click(session.url, card=card, email="new@example.com", answer="yes").status_code == 303
    assert shop.v1.subscriptions.list().data[0].status == "active"


def test_a_trial_takes_a_card_and_no_money(shop: Shop) -> None:
    session = _session(shop, subscription_data={"trial_period_days": 14})
    assert "Free for 14 days" in _page(session).text
    paid = shop.fake.pay(session.id, "pm_card_chargeCustomerFail")
    assert paid["payment_status"] == "no_payment_required"
    subscription = shop.v1.subscriptions.retrieve(paid["subscription"])
    assert (subscription.status, subscription.trial_end) == ("trialing", NOW + 14 * DAY)


def test_a_trial_begins_when_it_is_bought(shop: Shop) -> None:
    session = _session(shop, subscription_data={"trial_period_days": 14})
    shop.fake.advance(seconds=600)
    subscription = shop.v1.subscriptions.retrieve(shop.fake.pay(session.id)["subscription"])
    assert (subscription.created, subscription.trial_end) == (NOW + 600, NOW + 600 + 14 * DAY)


def test_a_metered_price_can_be_bought_beside_the_plan(shop: Shop) -> None:
    lines = [{"price": shop.pro, "quantity": 1}, {"price": shop.metered}]
    session = _session(shop, line_items=lines)
    assert "by usage" in _page(session).text
    subscription = shop.v1.subscriptions.retrieve(shop.fake.pay(session.id)["subscription"])
    assert [one.price.id for one in subscription["items"].data] == [shop.pro, shop.metered]


def test_a_session_is_used_once(shop: Shop) -> None:
    session = _session(shop)
    shop.fake.pay(session.id)
    assert _page(session).status_code == 404
    assert shop.click(session.url, card="pm_card_visa").status_code == 404
    assert len(shop.v1.subscriptions.list().data) == 1


def test_an_expired_session_sells_no_more(shop: Shop) -> None:
    by_hand, by_time = _session(shop), _session(shop)
    assert shop.v1.checkout.sessions.expire(by_hand.id).status == "expired"
    shop.fake.advance(days=1)
    assert shop.v1.checkout.sessions.retrieve(by_time.id).status == "expired"
    assert shop.types().count("checkout.session.expired") == 2
    assert _page(by_time).status_code == 404
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.checkout.sessions.expire(by_hand.id)


@pytest.mark.parametrize(
    "params",
    [
        {"mode": "payment"},
        {"success_url": ""},
        {"line_items": []},
        {"customer": "cus_none"},
        {"customer_email": "a@example.com", "customer": "cus_none"},
        {"expires_at": NOW + 60},
        {"subscription_data": {"trial_period_days": 3, "trial_end": NOW + 9 * DAY}},
    ],
)
def test_a_session_that_stripe_refuses_is_refused(shop: Shop, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        _session(shop, **params)
    assert shop.v1.checkout.sessions.list().data == []


def test_names_from_outside_are_escaped_on_the_page(shop: Shop) -> None:
    shop.v1.products.update(shop.product, {"name": "<script>alert(1)</script>"})
    page = _page(_session(shop))
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text


def test_the_price_of_the_item_is_the_price_as_it_is_now(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.v1.prices.update(shop.pro, {"lookup_key": "pro_2026"})
    assert item(shop.now(subscription)).price.lookup_key == "pro_2026"
