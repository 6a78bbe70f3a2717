"""The manners of the API: keys, parameters, idempotency, pages, expansion."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from fake_stripe.errors import StripeError
from fake_stripe.form import decode
from tests.fake_stripe.process import FakeStripe
from tests.fake_stripe.shop import Shop


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("a=1&b=", {"a": "1", "b": ""}),
        ("metadata[a+b]=x%26y", {"metadata": {"a b": "x&y"}}),
        ("items[0][price]=p&items[1][price]=q", {"items": [{"price": "p"}, {"price": "q"}]}),
        ("expand[]=a&expand[]=b", {"expand": ["a", "b"]}),
        ("created[gte]=5", {"created": {"gte": "5"}}),
    ],
)
def test_brackets_nest(text: str, values: dict[str, Any]) -> None:
    assert decode(text) == values


@pytest.mark.parametrize("text", ["a=1&a[b]=2", "[a]" * 12 + "=1", "&".join(f"a{n}=1" for n in range(1_001))])
def test_a_form_that_contradicts_itself_or_has_no_end_is_refused(text: str) -> None:
    with pytest.raises(StripeError) as caught:
        decode(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("key", ["sk_live_1", "rk_live_1", "pk_test_1", "anything"])
def test_only_test_keys_are_taken(fake: FakeStripe, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError, match="this server is not Stripe"):
        fake.client(key).v1.customers.list()


def test_a_request_without_a_key_is_refused(fake: FakeStripe) -> None:
    answer = httpx.get(f"{fake.url}/v1/customers", trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_restricted_test_key_is_taken_also_as_basic(fake: FakeStripe) -> None:
    answer = httpx.get(f"{fake.url}/v1/customers", auth=("rk_test_1", ""), trust_env=False)
    assert answer.json()["data"] == []


def test_the_version_is_echoed_and_requests_are_numbered(v1: Any) -> None:
    first, second = v1.customers.list(), v1.customers.list()
    assert first.last_response.headers["stripe-version"] == "2026-10-28.endive"
    assert first.last_response.request_id.startswith("req_")
    assert first.last_response.request_id != second.last_response.request_id


def test_what_is_not_there_is_a_404_that_names_it(v1: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.customers.retrieve("cus_nobody")
    error = caught.value
    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "id")
    assert "No such customer: 'cus_nobody'" in str(error)


def test_a_parameter_that_names_nothing_is_a_400(v1: Any, shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.subscribe("price_none")
    error = caught.value
    assert (error.http_status, error.code, error.param) == (400, "resource_missing", "items[0][price]")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"name": "x", "colour": "red"}, "colour"),
        ({}, "name"),
        ({"name": "x", "active": "perhaps"}, "active"),
        ({"name": "x", "type": "thing"}, "type"),
        ({"name": {"first": "x"}}, "name"),
        ({"name": "x", "images": "one"}, "images"),
        ({"name": "x", "metadata": [{"a": "b"}]}, "metadata"),
    ],
)
def test_a_wrong_parameter_is_a_400_that_names_it(v1: Any, params: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.products.create(params)
    assert (caught.value.http_status, caught.value.param) == (400, param)
    assert v1.products.list().data == []


def test_an_unknown_path_is_a_404(fake: FakeStripe) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        fake.v1.charges.list()
    assert (caught.value.http_status, caught.value.code) == (404, "url_invalid")


def test_the_same_key_with_the_same_parameters_gets_the_first_answer(v1: Any) -> None:
    first = v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k1"})
    again = v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k1"})
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert len(v1.customers.list().data) == 1


def test_the_same_key_with_other_parameters_is_refused(v1: Any) -> None:
    v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k1"})
    with pytest.raises(stripe.IdempotencyError) as caught:
        v1.customers.create({"email": "b@example.com"}, {"idempotency_key": "k1"})
    assert caught.value.http_status == 400
    assert len(v1.customers.list().data) == 1


def test_a_key_is_forgotten_after_a_day(fake: FakeStripe) -> None:
    first = fake.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k1"})
    fake.advance(days=1, seconds=1)
    again = fake.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k1"})
    assert again.id != first.id


def test_a_refused_card_is_remembered_and_a_wrong_parameter_is_not(shop: Shop) -> None:
    subscription = shop.subscribe(
        customer=shop.customer("pm_card_chargeCustomerFail"), payment_behavior="allow_incomplete"
    )
    invoice = shop.invoice(subscription).id
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            shop.v1.invoices.pay(invoice, {}, {"idempotency_key": "pay"})
    assert shop.invoice(subscription).attempt_count == 2  # the start's, and one for the key
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.products.create({"title": "x"}, {"idempotency_key": "make"})
    assert shop.v1.products.create({"name": "x"}, {"idempotency_key": "make"}).name == "x"


def test_lists_come_newest_first_in_pages(v1: Any) -> None:
    made = [v1.customers.create({"name": str(number)}).id for number in range(5)]
    page = v1.customers.list({"limit": 2})
    assert [one.id for one in page.data] == [made[4], made[3]]
    assert page.has_more is True
    after = v1.customers.list({"limit": 2, "starting_after": made[1]})
    assert ([one.id for one in after.data], after.has_more) == ([made[0]], False)
    before = v1.customers.list({"limit": 2, "ending_before": made[1]})
    assert ([one.id for one in before.data], before.has_more) == ([made[3], made[2]], True)
    assert [one.id for one in v1.customers.list({"limit": 2}).auto_paging_iter()] == made[::-1]


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"starting_after": "cus_0"}]
)
def test_a_page_that_cannot_be_is_refused(v1: Any, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        v1.customers.list(params)


def test_lists_are_cut_by_the_time_of_creation(fake: FakeStripe) -> None:
    first = fake.v1.customers.create({}).created
    fake.advance(seconds=10)
    fake.v1.customers.create({})
    ranges: list[tuple[dict[str, Any], int]] = [
        ({"created": first}, 1),
        ({"created": {"gt": first}}, 1),
        ({"created": {"gte": first}}, 2),
        ({"created": {"gte": first, "lt": first + 10}}, 1),
        ({"created": {"lte": first - 1}}, 0),
    ]
    assert [len(fake.v1.customers.list(params).data) for params, _ in ranges] == [
        count for _, count in ranges
    ]


def test_ids_become_objects_where_they_are_expanded(shop: Shop) -> None:
    subscription = shop.subscribe()
    found = shop.v1.subscriptions.retrieve(
        subscription.id,
        {"expand": ["customer", "latest_invoice.payments.data.payment", "default_payment_method"]},
    )
    assert found.customer.email == "buyer@example.com"
    assert found.latest_invoice.payments.data[0].status == "paid"
    assert found.default_payment_method is None
    listed = shop.v1.subscriptions.list({"expand": ["data.latest_invoice"]})
    assert listed.data[0].latest_invoice.status == "paid"


@pytest.mark.parametrize("path", ["status", "nothing", "items.data.price.product.default_price"])
def test_what_cannot_be_expanded_is_refused(shop: Shop, path: str) -> None:
    subscription = shop.subscribe()
    with pytest.raises(stripe.InvalidRequestError, match="expand"):
        shop.v1.subscriptions.retrieve(subscription.id, {"expand": [path]})


def test_a_deleted_customer_says_only_that(v1: Any) -> None:
    customer = v1.customers.create({"email": "a@example.com"})
    assert v1.customers.delete(customer.id).deleted is True
    assert v1.customers.retrieve(customer.id).to_dict() == {
        "id": customer.id,
        "object": "customer",
        "deleted": True,
    }


def test_metadata_is_merged_and_an_empty_text_removes_one(v1: Any) -> None:
    customer = v1.customers.create({"metadata": {"a": "1", "b": "2"}})
    changed = v1.customers.update(customer.id, {"metadata": {"b": "", "c": "3"}})
    assert changed.metadata.to_dict() == {"a": "1", "c": "3"}
    assert v1.customers.update(customer.id, {"metadata": ""}).metadata.to_dict() == {}


def test_a_lookup_key_has_one_price_and_can_be_handed_on(shop: Shop) -> None:
    price = {"product": shop.product, "currency": "usd", "unit_amount": 1, "recurring": {"interval": "month"}}
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        shop.v1.prices.create({**price, "lookup_key": "pro"})
    taken = shop.v1.prices.create({**price, "lookup_key": "pro", "transfer_lookup_key": True})
    found = shop.v1.prices.list({"lookup_keys": ["pro", "scale"]})
    assert [one.id for one in found.data] == [taken.id, shop.scale]
    assert shop.v1.prices.retrieve(shop.pro).lookup_key is None
