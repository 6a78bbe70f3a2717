"""Whatever is asked, a refusal is Stripe's and not a crash, and it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.fake_stripe.process import FakeStripe, running
from tests.fake_stripe.shop import NOW, Shop, item

NASTY = [
    "",
    "x",
    "-1",
    "0",
    "1",
    "1.5",
    "NaN",
    "Infinity",
    "1e400",
    "99999999999",
    "9" * 40,
    "true",
    "\x00",
    "é" * 300,
]
NESTED = ["{}[]", "{}[x]", "{}[0][x]", "{}[0]"]

# The parameters of each request that its handler reads, with a value that is right or None.
ASKED: dict[str, dict[str, str | None]] = {
    "products": {
        "name": "a",
        "id": None,
        "active": "true",
        "images": None,
        "metadata": None,
        "type": "service",
    },
    "products/{product}": {"name": "a", "default_price": "{price}", "metadata[a]": "b", "active": "false"},
    "prices": {
        "product": "{product}",
        "product_data[name]": None,
        "currency": "usd",
        "unit_amount": "5",
        "unit_amount_decimal": None,
        "recurring[interval]": "month",
        "recurring[interval_count]": "1",
        "tiers[0][up_to]": None,
        "transform_quantity[divide_by]": None,
        "lookup_key": "pro",
        "transfer_lookup_key": "true",
    },
    "prices/{price}": {
        "lookup_key": "scale",
        "transfer_lookup_key": "true",
        "active": "true",
        "nickname": "a",
    },
    "customers": {"email": "a", "payment_method": "pm_card_visa", "balance": "5", "metadata": None},
    "customers/{customer}": {
        "payment_method": "pm_card_visa",
        "invoice_settings[default_payment_method]": "{method}",
        "balance": "5",
        "address[city]": "a",
    },
    "payment_methods": {
        "type": "card",
        "card[number]": "4242424242424242",
        "card[token]": None,
        "metadata[a]": "b",
    },
    "payment_methods/{method}": {"metadata[a]": "b"},
    "subscriptions": {
        "customer": "{customer}",
        "items[0][price]": "{price}",
        "items[0][quantity]": "1",
        "trial_period_days": "3",
        "trial_end": None,
        "cancel_at": None,
        "days_until_due": None,
        "default_payment_method": "{method}",
        "collection_method": None,
        "payment_behavior": "allow_incomplete",
    },
    "subscriptions/{subscription}": {
        "items[0][id]": "{item}",
        "items[0][price]": "{scale}",
        "cancel_at": None,
        "cancel_at_period_end": None,
        "trial_end": None,
        "proration_date": None,
        "proration_behavior": "always_invoice",
        "metadata[a]": "b",
        "pause_collection[behavior]": "void",
        "cancellation_details[comment]": "a",
    },
    "subscriptions/{subscription}/pause": {"type": "subscription", "bill_for[unused_time_from][type]": "now"},
    "subscriptions/{subscription}/resume": {"billing_cycle_anchor[type]": "now"},
    "subscription_schedules": {"from_subscription": "{subscription}", "metadata[a]": "b"},
    "invoices/{invoice}": {"metadata[a]": "b", "auto_advance": "true", "description": "a"},
    "invoices/{invoice}/pay": {"payment_method": "pm_card_visa", "paid_out_of_band": "true"},
    "checkout/sessions": {
        "mode": "subscription",
        "line_items[0][price]": "{price}",
        "line_items[0][quantity]": "1",
        "success_url": "https://a.example",
        "expires_at": None,
        "subscription_data[trial_period_days]": "3",
        "customer": "{customer}",
    },
    "billing/meters": {
        "display_name": "a",
        "event_name": "b",
        "default_aggregation[formula]": "sum",
        "customer_mapping[event_payload_key]": "a",
    },
    "billing/meter_events": {
        "event_name": "units",
        "payload[stripe_customer_id]": "{customer}",
        "payload[value]": "5",
        "timestamp": None,
        "identifier": None,
    },
    "billing_portal/configurations": {
        "features[subscription_update][enabled]": "true",
        "features[subscription_update][products][0][product]": "{product}",
        "features[subscription_cancel][cancellation_reason][options][0]": "unused",
        "metadata[a]": "b",
    },
    "webhook_endpoints": {"url": "http://127.0.0.1:9", "enabled_events[0]": "*", "metadata[a]": "b"},
    "test_helpers/test_clocks": {"frozen_time": str(NOW)},
}


@dataclass(frozen=True, slots=True)
class Ground:
    """A fake Stripe that writes its state down, and the ids of one object of each kind."""

    fake: FakeStripe
    state: Path
    ids: dict[str, str]

    def tables(self) -> Any:
        """Return everything that it knows, as it wrote it down last."""
        return json.loads(self.state.read_text())["tables"]

    def post(self, path: str, params: dict[str, str]) -> httpx.Response:
        """Send a form."""
        headers = {"Authorization": "Bearer sk_test_1", "Content-Type": "application/x-www-form-urlencoded"}
        url = f"{self.fake.url}/v1/{path.format(**self.ids)}"
        return httpx.post(url, content=urlencode(params), headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    state = tmp_path_factory.mktemp("fake") / "state.json"
    with running("--state", str(state), "--stands-at", str(NOW), "--seed", "1") as fake:
        yield _open(fake, state)


def _open(fake: FakeStripe, state: Path) -> Ground:
    fake.control("reset", seed="1", stands_at=NOW)
    shop = Shop.open(fake)
    subscription = shop.subscribe()
    method = fake.v1.customers.retrieve(subscription.customer).invoice_settings.default_payment_method
    ids = {
        "product": shop.product,
        "price": shop.pro,
        "scale": shop.scale,
        "customer": subscription.customer,
        "method": method,
        "subscription": subscription.id,
        "item": item(subscription).id,
        "invoice": subscription.latest_invoice,
    }
    return Ground(fake, state, ids)


@some.composite
def requests(draw: some.DrawFn) -> tuple[str, dict[str, str]]:
    """Return a path and a form in which most is right and something is not."""
    path = draw(some.sampled_from(sorted(ASKED)))
    params = {name: value for name, value in ASKED[path].items() if value is not None}
    for name in draw(some.lists(some.sampled_from(sorted(ASKED[path])), max_size=3)):
        params[name] = draw(some.sampled_from(NASTY))
    for name in draw(some.lists(some.sampled_from(sorted(ASKED[path])), max_size=1)):
        params.pop(name, None)
        params[draw(some.sampled_from(NESTED)).format(name)] = draw(some.sampled_from(NASTY))
    if draw(some.booleans()):
        params["zzz_unknown"] = "1"
    return path, params


@settings(max_examples=400)
@given(request=requests())
def test_a_refused_request_is_never_a_crash_and_changes_nothing(
    ground: Ground, request: tuple[str, dict[str, str]]
) -> None:
    path, params = request
    before = ground.tables()
    filled = {name: value.format(**ground.ids) if "{" in value else value for name, value in params.items()}
    answer = ground.post(path, filled)
    assert answer.status_code in (200, 400, 402, 404), answer.text
    if answer.status_code in (400, 404):
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert ground.tables() == before
    elif answer.status_code == 200:
        _open(ground.fake, ground.state)  # the ids are the seed's, so they are the same again
