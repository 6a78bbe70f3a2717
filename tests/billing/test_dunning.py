"""When this server asks for a payment of its own, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from api_factory.billing.dunning import HARD_DECLINES, may_ask_again
from api_factory.billing.model import BillingRules, CustomerPicture, FetchedCustomer
from tests.billing.pictures import NOW, START, invoice, owed, seen, subscription


def with_default(picture: CustomerPicture, method: str | None) -> CustomerPicture:
    customer: FetchedCustomer = replace(picture.customer, default_payment_method_id=method)
    return replace(picture, customer=customer)


def keys(*pictures: CustomerPicture, rules: BillingRules | None = None) -> list[str]:
    _, projection = seen(*pictures, rules=rules or BillingRules(grace=timedelta(days=7)))
    return [each.idempotency_key for each in projection.attempts]


def test_nothing_is_asked_for_while_the_payment_method_is_the_one_that_failed() -> None:
    assert keys(owed(), owed()) == []


def test_a_new_default_payment_method_is_tried_once() -> None:
    arrived = with_default(owed(), "pm_2")
    assert keys(owed(), arrived) == ["pay:in_1:pm_2"]
    assert keys(owed(), arrived, arrived) == ["pay:in_1:pm_2"]


def test_a_payment_method_where_there_was_none_is_tried() -> None:
    assert keys(with_default(owed(), None), owed()) == ["pay:in_1:pm_1"]


def test_the_subscriptions_own_payment_method_comes_before_the_customers() -> None:
    own = replace(owed(), subscriptions=(subscription("past_due", default_payment_method_id="pm_3"),))
    assert keys(owed(), own) == ["pay:in_1:pm_3"]


def test_a_payment_method_that_was_attached_since_is_tried_without_being_the_default() -> None:
    offered = replace(owed(), offered_payment_method_id="pm_9", offered_at=START + timedelta(hours=2))
    assert keys(owed(), offered) == ["pay:in_1:pm_9"]


def test_one_that_was_attached_before_the_failure_is_no_news() -> None:
    offered = replace(owed(), offered_payment_method_id="pm_9", offered_at=START - timedelta(hours=2))
    assert keys(owed(), offered) == []


def test_days_of_our_own_are_off_unless_the_owner_names_them() -> None:
    assert keys(owed()) == []
    _, projection = seen(owed(), rules=BillingRules(grace=None, retry_days=(2, 5)))
    assert [(each.idempotency_key, each.due_at, each.cause) for each in projection.attempts] == [
        ("pay:in_1:day2", START + timedelta(days=2), "schedule"),
        ("pay:in_1:day5", START + timedelta(days=5), "schedule"),
    ]


def test_an_invoice_that_is_not_open_is_never_asked_for() -> None:
    for status in ("paid", "void", "uncollectible", "draft"):
        assert not may_ask_again(invoice(status=status), "payment_method")
        assert not may_ask_again(invoice(status=status, next_payment_attempt_at=None), "schedule")


def test_our_days_wait_while_stripe_has_an_attempt_ahead() -> None:
    assert not may_ask_again(invoice(next_payment_attempt_at=NOW), "schedule")
    assert may_ask_again(invoice(next_payment_attempt_at=NOW), "payment_method")
    assert may_ask_again(invoice(next_payment_attempt_at=None), "schedule")


@pytest.mark.parametrize("code", sorted(HARD_DECLINES))
def test_our_days_do_not_repeat_a_hard_decline(code: str) -> None:
    declined = invoice(next_payment_attempt_at=None, decline_code=code)
    assert not may_ask_again(declined, "schedule")
    assert may_ask_again(declined, "payment_method")


def test_a_soft_decline_may_be_repeated() -> None:
    assert may_ask_again(invoice(next_payment_attempt_at=None, decline_code="insufficient_funds"), "schedule")
