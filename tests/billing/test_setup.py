"""`billing setup` brings Stripe to what the plans need, and a second time finds it so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from api_factory.accounts import Plan, load_plans
from api_factory.billing.events import HANDLED
from api_factory.billing.setup import Setup, SetupReport, SetupWish
from api_factory.billing.stripe import API_VERSION, Stripe
from tests.billing.metering import fake, one_fake
from tests.fake_stripe.process import KEY, FakeStripe

__all__ = ["fake", "one_fake"]  # the fixtures of this module

URL = "https://api.example.com/webhooks/stripe"
BASIC = Plan(slug="basic", name="Basic", price_cents=900, stripe_lookup_key="basic_monthly", quota_units=10)


@pytest.fixture
async def stripe(fake: FakeStripe) -> AsyncIterator[Stripe]:
    made = Stripe(KEY, base=fake.url)
    yield made
    await made.close()


async def run(stripe: Stripe, *plans: Plan, apply: bool = True, url: str | None = URL) -> SetupReport:
    wish = SetupWish(plans=plans or load_plans(), webhook_url=url, return_url="https://app.example.com/")
    return await Setup(stripe, wish, apply=apply).run()


def verbs(report: SetupReport) -> list[tuple[str, str, str]]:
    return [(step.verb, step.kind, step.name) for step in report.steps]


async def test_without_apply_it_says_what_it_would_do_and_does_nothing(
    fake: FakeStripe, stripe: Stripe
) -> None:
    report = await run(stripe, apply=False)
    assert report.has_changes
    assert verbs(report) == [
        ("create", "meter", "api_factory_units"),
        ("create", "product", "api_factory_pro"),
        ("create", "price", "pro_monthly"),
        ("create", "product", "api_factory_scale"),
        ("create", "price", "scale_monthly"),
        ("create", "product", "api_factory_scale_units"),
        ("create", "price", "scale_units"),
        ("create", "portal", "configuration"),
        ("create", "webhook endpoint", URL),
    ]
    assert report.webhook_secret is None
    assert fake.v1.products.list().data == []
    assert fake.v1.webhook_endpoints.list().data == []


async def test_it_makes_all_that_the_shipped_plans_need(fake: FakeStripe, stripe: Stripe) -> None:
    report = await run(stripe)
    found = {price.lookup_key: price for price in fake.v1.prices.list({"expand": ["data.product"]}).data}
    assert found.keys() == {"pro_monthly", "scale_monthly", "scale_units"}
    pro, units = found["pro_monthly"], found["scale_units"]
    assert (pro.unit_amount, pro.currency, pro.recurring.interval) == (2_900, "usd", "month")
    assert pro.metadata.to_dict() == {"api_factory_plan": "pro"}
    assert Decimal(str(units.unit_amount_decimal)) == Decimal("0.02")
    assert units.recurring.usage_type == "metered"
    assert units.metadata.to_dict() == {"api_factory_units": "scale"}
    (meter,) = fake.v1.billing.meters.list().data
    assert (meter.event_name, units.recurring.meter) == ("api_factory_units", meter.id)
    (endpoint,) = fake.v1.webhook_endpoints.list().data
    assert (endpoint.url, endpoint.api_version) == (URL, API_VERSION)
    assert set(endpoint.enabled_events) == set(HANDLED)
    assert report.webhook_secret is not None
    assert report.webhook_secret.startswith("whsec_")
    assert report.webhook_secret not in repr(report)
    (portal,) = fake.v1.billing_portal.configurations.list().data
    assert portal.default_return_url == "https://app.example.com/"
    assert portal.features.subscription_cancel.mode == "at_period_end"


async def test_a_second_run_keeps_everything(fake: FakeStripe, stripe: Stripe) -> None:
    await run(stripe)
    events = len(fake.v1.events.list({"limit": 100}).data)
    again = await run(stripe)
    assert {step.verb for step in again.steps} == {"keep"}
    assert (again.has_changes, again.webhook_secret) == (False, None)
    assert len(fake.v1.events.list({"limit": 100}).data) == events


async def test_a_run_that_was_cut_short_is_finished_by_the_next(fake: FakeStripe, stripe: Stripe) -> None:
    fake.control("faults", kind="error_500", match="POST /v1/prices", times=3)
    from api_factory.errors import StripeUnavailable

    with pytest.raises(StripeUnavailable):
        await run(stripe)
    await run(stripe)
    assert len(fake.v1.products.list().data) == 3
    assert len(fake.v1.prices.list().data) == 3


async def test_a_changed_price_is_made_anew_and_takes_the_lookup_key_over(
    fake: FakeStripe, stripe: Stripe
) -> None:
    await run(stripe, BASIC)
    (old,) = fake.v1.prices.list().data
    for amount in (1_900, 900):
        report = await run(stripe, replace(BASIC, price_cents=amount))
        assert ("replace", "price", "basic_monthly") in verbs(report)
        (price,) = fake.v1.prices.list({"lookup_keys": ["basic_monthly"]}).data
        assert price.unit_amount == amount
    assert len(fake.v1.prices.list().data) == 3
    kept = fake.v1.prices.retrieve(old.id)
    assert (kept.active, kept.lookup_key, kept.metadata.to_dict()) == (
        True,
        None,
        {"api_factory_plan": "basic"},
    )


async def test_a_price_that_the_owner_made_is_used_as_it_is(fake: FakeStripe, stripe: Stripe) -> None:
    product = fake.v1.products.create({"name": "Mine"})
    price = fake.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
            "lookup_key": "basic_monthly",
        }
    )
    report = await run(stripe, BASIC)
    assert ("keep", "product", product.id) in verbs(report)
    assert ("keep", "price", "basic_monthly") in verbs(report)
    assert [each.id for each in fake.v1.prices.list().data] == [price.id]
    assert fake.v1.products.retrieve(product.id).name == "Mine"


async def test_a_renamed_plan_renames_its_product(fake: FakeStripe, stripe: Stripe) -> None:
    await run(stripe, BASIC)
    report = await run(stripe, replace(BASIC, name="Starter"))
    assert ("update", "product", "api_factory_basic") in verbs(report)
    assert fake.v1.products.retrieve("api_factory_basic").name == "Starter"


async def test_customers_may_switch_between_plans_of_one_price_only(fake: FakeStripe, stripe: Stripe) -> None:
    plus = replace(BASIC, slug="plus", name="Plus", price_cents=1_900, stripe_lookup_key="plus_monthly")
    scale = load_plans()[2]
    await run(stripe, BASIC, plus, scale)
    (portal,) = fake.v1.billing_portal.configurations.list().data
    switch = portal.features.subscription_update
    assert switch.enabled
    assert {each.product for each in switch.products} == {"api_factory_basic", "api_factory_plus"}
    assert [each.type for each in switch.schedule_at_period_end.conditions] == [
        "decreasing_item_amount",
        "shortening_interval",
    ]
    report = await run(stripe, BASIC)
    assert "update" in [step.verb for step in report.steps if step.kind == "portal"]


async def test_an_endpoint_that_lacks_events_or_is_off_is_mended(fake: FakeStripe, stripe: Stripe) -> None:
    await run(stripe, BASIC)
    (endpoint,) = fake.v1.webhook_endpoints.list().data
    fake.v1.webhook_endpoints.update(
        endpoint.id, {"enabled_events": ["invoice.paid", "charge.refunded"], "disabled": True}
    )
    report = await run(stripe, BASIC)
    assert ("update", "webhook endpoint", URL) in verbs(report)
    (mended,) = fake.v1.webhook_endpoints.list().data
    assert (mended.status, set(mended.enabled_events)) == ("enabled", {*HANDLED, "charge.refunded"})


async def test_an_endpoint_of_another_version_is_replaced_and_goes_when_the_new_one_is_there(
    fake: FakeStripe, stripe: Stripe
) -> None:
    old = fake.v1.webhook_endpoints.create(
        {
            "url": URL,
            "enabled_events": ["*"],
            "api_version": "2024-06-20",
            "metadata": {"api_factory": "webhook"},
        }
    )
    first = await run(stripe, BASIC)
    assert ("replace", "webhook endpoint", URL) in verbs(first)
    assert first.webhook_secret is not None
    assert len(fake.v1.webhook_endpoints.list().data) == 2
    second = await run(stripe, BASIC)
    assert ("delete", "webhook endpoint", old.id) in verbs(second)
    (left,) = fake.v1.webhook_endpoints.list().data
    assert left.api_version == API_VERSION


async def test_an_endpoint_somebody_else_made_is_never_deleted(fake: FakeStripe, stripe: Stripe) -> None:
    wanted: Any = {"url": URL, "enabled_events": ["*"], "api_version": "2024-06-20"}
    fake.v1.webhook_endpoints.create(wanted)
    await run(stripe, BASIC)
    await run(stripe, BASIC)
    assert len(fake.v1.webhook_endpoints.list().data) == 2


async def test_without_an_address_no_endpoint_is_made(fake: FakeStripe, stripe: Stripe) -> None:
    report = await run(stripe, BASIC, url=None)
    assert report.steps[-1].verb == "skip"
    assert fake.v1.webhook_endpoints.list().data == []
