"""Webhook deliveries: signed as Stripe signs, tried again, and spoilt on demand."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.fake_stripe.process import FakeStripe
from tests.fake_stripe.receiver import Receiver
from tests.fake_stripe.shape import problems
from tests.fake_stripe.shop import DAY, Shop

ALL = ["*"]


@pytest.fixture
def secret(fake: FakeStripe, receiver: Receiver) -> str:
    """The secret of an endpoint that gets everything."""
    endpoint = fake.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ALL})
    found: str = endpoint.secret
    return found


def _customers(fake: FakeStripe, count: int = 1) -> list[str]:
    return [fake.v1.customers.create({"name": str(number)}).id for number in range(count)]


def _names(receiver: Receiver) -> list[str]:
    return [delivery.event["data"]["object"]["name"] for delivery in receiver.deliveries]


def test_a_delivery_is_the_event_and_verifies_with_the_official_package(
    fake: FakeStripe, receiver: Receiver, secret: str
) -> None:
    (customer,) = _customers(fake)
    fake.settle()
    (delivery,) = receiver.deliveries
    event = delivery.verify(secret)
    assert (event.type, event.data.object.id, event.api_version) == (
        "customer.created",
        customer,
        "2026-10-28.endive",
    )
    assert problems(delivery.event) == []
    assert fake.v1.events.retrieve(event.id).pending_webhooks == 0
    with pytest.raises(stripe.SignatureVerificationError):
        delivery.verify("whsec_other")


def test_an_event_names_the_request_that_brought_it_about(fake: FakeStripe) -> None:
    made = fake.v1.customers.create({}, {"idempotency_key": "k1"})
    (event,) = fake.v1.events.list({"type": "customer.created"}).data
    assert event.request.id == made.last_response.request_id
    assert event.request.idempotency_key == "k1"


def test_what_the_clock_brings_about_names_no_request(shop: Shop) -> None:
    shop.subscribe()
    shop.fake.advance(days=28)
    event = shop.v1.events.list({"type": "invoice.created"}).data[0]
    assert event.request.id is None


def test_an_endpoint_gets_what_it_asked_for_and_nothing_when_disabled(
    fake: FakeStripe, receiver: Receiver
) -> None:
    endpoint = fake.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["customer.deleted"], "description": "mine"}
    )
    (customer,) = _customers(fake)
    fake.v1.customers.delete(customer)
    fake.settle()
    assert receiver.types == ["customer.deleted"]
    changed = fake.v1.webhook_endpoints.update(endpoint.id, {"disabled": True, "enabled_events": ALL})
    assert (changed.status, changed.description, "secret" in changed) == ("disabled", "mine", False)
    _customers(fake)
    fake.settle()
    assert receiver.types == ["customer.deleted"]


def test_a_deleted_endpoint_gets_nothing_more(fake: FakeStripe, receiver: Receiver) -> None:
    endpoint = fake.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ALL})
    assert fake.v1.webhook_endpoints.delete(endpoint.id).deleted is True
    _customers(fake)
    fake.settle()
    assert receiver.types == []
    assert fake.v1.webhook_endpoints.list().data == []


@pytest.mark.parametrize(
    "params",
    [
        {"enabled_events": ALL},
        {"url": "example.com/hook", "enabled_events": ALL},
        {"url": "ftp://example.com", "enabled_events": ALL},
        {"url": "https://example.com", "enabled_events": []},
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(fake: FakeStripe, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        fake.v1.webhook_endpoints.create(params)


def test_while_a_secret_is_rolled_both_sign(fake: FakeStripe, receiver: Receiver) -> None:
    endpoint = fake.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ALL})
    fresh = fake.control(f"webhook_endpoints/{endpoint.id}/roll", overlap_seconds=DAY)["secret"]
    _customers(fake)
    fake.settle()
    assert receiver.deliveries[0].signature.count("v1=") == 2
    for secret in (endpoint.secret, fresh):
        assert receiver.deliveries[0].verify(secret).type == "customer.created"
    fake.advance(seconds=DAY)
    _customers(fake)
    fake.settle()
    receiver.deliveries[1].verify(fresh)
    with pytest.raises(stripe.SignatureVerificationError):
        receiver.deliveries[1].verify(endpoint.secret)


def test_a_refused_delivery_is_tried_again_later_until_it_is_taken(
    fake: FakeStripe, receiver: Receiver, secret: str
) -> None:
    receiver.answers = [500, 301]
    _customers(fake)
    fake.settle()
    assert len(receiver.deliveries) == 1
    assert fake.v1.events.list({"delivery_success": False}).data[0].pending_webhooks == 1
    fake.advance(seconds=5)
    fake.settle()
    assert len(receiver.deliveries) == 2
    fake.advance(seconds=59)
    fake.settle()
    assert len(receiver.deliveries) == 2
    fake.advance(seconds=1)
    fake.settle()
    assert {delivery.event["id"] for delivery in receiver.deliveries} == {receiver.deliveries[0].event["id"]}
    assert len(receiver.deliveries) == 3
    assert fake.v1.events.list({"delivery_success": False}).data == []
    (done,) = fake.look("/deliveries")["data"]
    assert [attempt["status"] for attempt in done["attempts"]] == [500, 301, 200]


def test_after_three_days_a_delivery_is_given_up(fake: FakeStripe) -> None:
    fake.v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/closed", "enabled_events": ALL})
    _customers(fake)
    for _ in range(10):
        fake.settle()
        fake.advance(days=1)
    fake.settle()
    (delivery,) = fake.look("/deliveries", state="failed")["data"]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [0] * 10
    assert len(fake.v1.events.list({"delivery_success": False}).data) == 1


def test_held_deliveries_go_in_the_order_that_is_asked_for(
    fake: FakeStripe, receiver: Receiver, secret: str
) -> None:
    fake.control("policy", holds_deliveries=True)
    _customers(fake, 6)
    fake.settle()
    assert receiver.deliveries == []
    first = fake.look("/deliveries", state="held")["data"][0]["id"]
    assert fake.control("deliveries/release", ids=[first]) == {"released": 1}
    fake.settle()
    fake.control("deliveries/release", order="reversed")
    fake.settle()
    assert _names(receiver) == ["0", "5", "4", "3", "2", "1"]


def test_an_event_can_be_sent_again(fake: FakeStripe, receiver: Receiver, secret: str) -> None:
    _customers(fake)
    fake.settle()
    fake.control(f"events/{receiver.deliveries[0].event['id']}/resend")
    fake.settle()
    assert receiver.deliveries[0].event["id"] == receiver.deliveries[1].event["id"]


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        ({"kind": "drop", "times": 1}, ["1", "2"]),
        ({"kind": "duplicate", "times": 1}, ["0", "0", "1", "2"]),
        ({"kind": "delay", "seconds": 60, "times": 1}, ["1", "2"]),
        ({"kind": "drop", "match": "invoice.*"}, ["0", "1", "2"]),
    ],
)
def test_faults_strike_as_often_as_they_are_told_to(
    fake: FakeStripe, receiver: Receiver, secret: str, fault: dict[str, Any], names: list[str]
) -> None:
    fake.control("faults", **fault)
    _customers(fake, 3)
    fake.settle()
    assert _names(receiver) == names
    fake.advance(seconds=60)
    fake.settle()
    assert len(receiver.deliveries) == max(len(names), 3 if fault["kind"] != "drop" else len(names))


def test_a_dropped_event_is_still_in_the_list(fake: FakeStripe, receiver: Receiver, secret: str) -> None:
    fake.control("faults", kind="drop")
    _customers(fake)
    fake.settle()
    assert receiver.deliveries == []
    assert [event.type for event in fake.v1.events.list({"delivery_success": False}).data] == [
        "customer.created"
    ]


def test_the_same_seed_makes_the_same_disorder(fake: FakeStripe, receiver: Receiver) -> None:
    orders = []
    for seed in ("7", "7", "8"):
        fake.control("reset", seed=seed, stands_at=1_769_860_800)
        fake.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ALL})
        fake.control("policy", holds_deliveries=True)
        fake.control("faults", kind="reorder")
        _customers(fake, 8)
        fake.control("deliveries/release")
        fake.settle()
        orders.append(_names(receiver))
        receiver.deliveries.clear()
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == [str(number) for number in range(8)]


def test_a_wrong_secret_does_not_verify(fake: FakeStripe, receiver: Receiver, secret: str) -> None:
    fake.control("faults", kind="wrong_secret", times=1)
    _customers(fake)
    fake.settle()
    with pytest.raises(stripe.SignatureVerificationError, match="No signatures found"):
        receiver.deliveries[0].verify(secret)


def test_an_old_signature_is_outside_the_tolerance(fake: FakeStripe, receiver: Receiver, secret: str) -> None:
    fake.control("faults", kind="old_signature", seconds=301)
    _customers(fake)
    fake.settle()
    with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
        receiver.deliveries[0].verify(secret)


@pytest.mark.parametrize("by", ["fault", "endpoint"])
def test_an_older_version_has_the_shapes_of_before_basil(shop: Shop, receiver: Receiver, by: str) -> None:
    endpoint = {"url": receiver.url, "enabled_events": ["customer.subscription.updated", "invoice.paid"]}
    if by == "endpoint":
        endpoint["api_version"] = "2020-08-27"
    else:
        shop.fake.control("faults", kind="stale_version")
    shop.v1.webhook_endpoints.create(endpoint)
    subscription = shop.subscribe()
    shop.fake.settle()
    updated, paid = receiver.deliveries[-2].event, receiver.deliveries[-1].event
    assert {updated["api_version"], paid["api_version"]} == {"2020-08-27"}
    old = updated["data"]["object"]
    assert old["current_period_end"] - old["current_period_start"] == 28 * DAY
    assert "current_period_end" not in old["items"]["data"][0]
    assert (paid["data"]["object"]["subscription"], paid["data"]["object"]["paid"]) == (subscription.id, True)
    assert "parent" not in paid["data"]["object"]
    assert shop.v1.events.list({"type": "invoice.paid"}).data[0].api_version == "2026-10-28.endive"


def test_answers_can_be_spoilt_before_and_after_they_take_effect(fake: FakeStripe) -> None:
    fake.control("faults", kind="error_500", match="POST /v1/customers", times=1)
    with pytest.raises(stripe.APIError):
        fake.v1.customers.create({"name": "a"})
    assert fake.v1.customers.list().data == []
    fake.control("faults", kind="error_500", match="POST /v1/customers", times=1, after=True)
    with pytest.raises(stripe.APIError):
        fake.v1.customers.create({"name": "a"}, {"idempotency_key": "k1"})
    again = fake.v1.customers.create({"name": "a"}, {"idempotency_key": "k1"})
    assert [one.id for one in fake.v1.customers.list().data] == [again.id]
    fake.control("faults", kind="rate_limit_429", match="GET *", times=1)
    with pytest.raises(stripe.RateLimitError):
        fake.v1.customers.list()


def test_a_client_that_gives_up_waiting_finds_its_work_done(fake: FakeStripe) -> None:
    fake.control("faults", kind="timeout", seconds=2, match="POST /v1/customers", times=1)
    hasty = fake.client(http_client=stripe.RequestsClient(timeout=0.2)).v1
    with pytest.raises(stripe.APIConnectionError):
        hasty.customers.create({"name": "a"}, {"idempotency_key": "k1"})
    again = fake.v1.customers.create({"name": "a"}, {"idempotency_key": "k1"})
    assert [one.id for one in fake.v1.customers.list().data] == [again.id]


def test_the_clients_own_retries_get_over_a_bad_moment(fake: FakeStripe) -> None:
    fake.control("faults", kind="error_500", times=2, after=True)
    made = fake.client(max_network_retries=2).v1.customers.create({"name": "a"})
    assert [one.id for one in fake.v1.customers.list().data] == [made.id]


def test_cleared_faults_strike_no_more(fake: FakeStripe) -> None:
    fake.control("faults", kind="error_500")
    assert [fault["kind"] for fault in fake.look()["faults"]] == ["error_500"]
    fake.clear_faults()
    assert fake.v1.customers.list().data == []


def test_any_event_can_be_told_of_any_object(fake: FakeStripe, receiver: Receiver, secret: str) -> None:
    (customer,) = _customers(fake)
    fake.control("events", type="customer.unheard_of", object=customer)
    fake.control(f"objects/{customer}", fields={"name": "changed"})
    fake.settle()
    assert receiver.types == ["customer.created", "customer.unheard_of"]
    assert fake.v1.customers.retrieve(customer).name == "changed"


def test_events_are_listed_by_type_and_time_for_thirty_days(fake: FakeStripe) -> None:
    first = _customers(fake)[0]
    fake.advance(days=1)
    fake.v1.customers.delete(first)
    found = fake.v1.events.list({"types": ["customer.created", "customer.deleted"]}).data
    assert [event.type for event in found] == ["customer.deleted", "customer.created"]
    assert [event.type for event in fake.v1.events.list({"created": {"gt": found[1].created}}).data] == [
        "customer.deleted"
    ]
    fake.advance(days=30)
    assert [event.type for event in fake.v1.events.list().data] == ["customer.deleted"]
    assert fake.v1.events.retrieve(found[1].id).type == "customer.created"
    for params in ({"types": ["a"], "type": "a"}, {"types": ["a"] * 21}):
        with pytest.raises(stripe.InvalidRequestError):
            fake.v1.events.list(params)
