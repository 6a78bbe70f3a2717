"""Buying through GraphQL: the whole engine, a real database, and a Stripe in its own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_factory.actions import Catalogue
from api_factory.billing.setup import Setup, SetupWish
from api_factory.db import Database
from api_factory.usage import Line, Payer
from api_factory.wiring import build_engine
from schema.build import build_schema
from schema.http import GraphQLHTTP
from tests.fake_stripe.process import KEY, FakeStripe, running
from tests.schema.conftest import House, settings_of

BUYER = ("RUN_ACTIONS", "MANAGE_BILLING")
CHECKOUT = (
    "mutation($i: CreateCheckoutSessionInput!) { createCheckoutSession(input: $i)"
    " { url expiresAt userErrors { code message field } } }"
)
PORTAL = (
    "mutation($i: CreatePortalSessionInput!) { createPortalSession(input: $i)"
    " { url expiresAt userErrors { code message field } } }"
)
SUBSCRIPTION = (
    "{ viewer { plan { id } subscription { status plan { id } quantity currentPeriodEnd cancelAtPeriodEnd"
    " endsAt trialEndsAt graceEndsAt } } }"
)
PLANS_FILE = """
[[plan]]
slug = "free"
name = "Free"
quota_units = 100

[[plan]]
slug = "pro"
name = "Pro"
price = 2_900
stripe_lookup_key = "pro_monthly"
quota_units = 1_000
trial_days = 14
trial_quota_units = 50

[[plan]]
slug = "seats"
name = "Seats"
price = 500
stripe_lookup_key = "seats_monthly"
quota_units = 10
quantity = "multiply"

[[plan]]
slug = "scale"
name = "Scale"
price = 9_900
stripe_lookup_key = "scale_monthly"
quota_units = 5_000
overage = "soft"
billed_units = "beyond"
overage_lookup_key = "scale_units"
overage_price = 20
overage_per_units = 1_000
"""


@dataclass
class Store(House):
    """A house that sells, and the Stripe it sells through."""

    fake: FakeStripe = None  # type: ignore[assignment]

    def order(self, plan: str = "seats", **values: Any) -> dict[str, Any]:
        """Return the input of a checkout."""
        urls = {"successUrl": "http://localhost:3000/done", "cancelUrl": "http://localhost:3000/no"}
        return {"i": {"planId": f"plan_{plan}", **urls, **values}}

    async def open(self, key: Any, plan: str = "seats", **values: Any) -> Any:
        """Ask for a checkout page; return the payload."""
        return (await self.data(CHECKOUT, self.order(plan, **values), key=key))["createCheckoutSession"]

    async def hear(self) -> None:
        """Fetch what Stripe has for each customer, as events would have it done."""
        for event in reversed(list(self.fake.v1.events.list({"limit": 100}).auto_paging_iter())):
            found = await self.engine.billing.stripe.event(event.id)
            assert found is not None
            await self.engine.billing.inbox.add(found, "webhook")
        await self.engine.billing.worker.drain()

    def sessions(self) -> list[Any]:
        """Return the checkout sessions, the newest first."""
        return list(self.fake.v1.checkout.sessions.list().data)


@pytest.fixture(scope="session")
def one_fake() -> Iterator[FakeStripe]:
    with running("--seed", "1") as fake:
        yield fake


@pytest.fixture
async def shop(
    database: Database, database_url: str, catalogue: Catalogue, tmp_path: Path, one_fake: FakeStripe
) -> AsyncIterator[Store]:
    one_fake.control("reset", seed="1")
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS_FILE)
    settings = settings_of(
        tmp_path,
        database_url=database_url,
        plans_file=plans,
        stripe_api_key=KEY,
        stripe_api_base=one_fake.url,
    )
    engine = build_engine(settings, catalogue=catalogue)
    await database.close()
    await engine.open(background=False)
    wish = SetupWish(plans=await engine.plans.list(), webhook_url=None, return_url=None)
    await Setup(engine.billing.stripe, wish, apply=True).run()
    app = GraphQLHTTP(engine, build_schema(catalogue))
    await engine.key_cache.open()
    await engine.ledger.open()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as http:
        yield Store(engine, http, fake=one_fake)
    await engine.close()
    await database.open()


async def test_who_buys_is_a_customer_first_and_has_what_he_bought_once_stripe_says_so(shop: Store) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    page = await shop.open(key, quantity=3)
    assert page["userErrors"] == []
    assert page["url"].startswith(shop.fake.url)
    assert page["expiresAt"] is not None
    (customer,) = shop.fake.v1.customers.list().data
    assert (customer.email, customer.metadata.to_dict()) == (account.email, {"account_id": account.public_id})
    assert (await shop.engine.accounts.get(account.id)).stripe_customer_id == customer.id
    (session,) = shop.sessions()
    assert session.client_reference_id == account.public_id
    shop.fake.pay(session.id)
    assert (await shop.data(SUBSCRIPTION, key=key))["viewer"]["subscription"] is None
    await shop.hear()
    viewer = (await shop.data(SUBSCRIPTION, key=key))["viewer"]
    assert viewer["plan"] == {"id": "plan_seats"}
    bought = viewer["subscription"]
    assert (bought["status"], bought["plan"], bought["quantity"]) == ("ACTIVE", {"id": "plan_seats"}, 3)
    assert (bought["cancelAtPeriodEnd"], bought["endsAt"], bought["graceEndsAt"]) == (False, None, None)
    assert (await shop.engine.accounts.get(account.id)).granted_units == 30
    entries = await shop.engine.audit.entries(target_id=account.public_id)
    opened = next(each for each in entries if each.verb == "key:account:checkout_opened")
    assert opened.after == {"plan": "seats", "quantity": 3}


async def test_a_plan_with_metered_units_sells_both_prices(shop: Store) -> None:
    key = await shop.key(await shop.account(), *BUYER)
    await shop.open(key, "scale")
    (session,) = shop.sessions()
    shop.fake.pay(session.id)
    (subscription,) = shop.fake.v1.subscriptions.list().data
    items = {item.price.lookup_key: item.price.recurring.usage_type for item in subscription["items"].data}
    assert items == {"scale_monthly": "licensed", "scale_units": "metered"}


async def test_a_second_subscription_is_refused_here_and_at_stripe(shop: Store) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    await shop.open(key)
    shop.fake.pay(shop.sessions()[0].id)
    for _ in range(2):  # before an event was heard, and after
        refused = await shop.open(key, "scale")
        assert refused["url"] is None
        assert refused["userErrors"] == [
            {
                "code": "INVALID_STATE",
                "message": "The account has a subscription; change or cancel it in the portal, with "
                "createPortalSession.",
                "field": None,
            }
        ]
        await shop.hear()
    assert len(shop.fake.v1.subscriptions.list().data) == 1


async def test_two_tabs_make_one_customer_and_leave_one_page_open(shop: Store) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    pages = await asyncio.gather(*(shop.open(key, plan) for plan in ("seats", "scale", "seats", "pro")))
    assert all(page["userErrors"] == [] for page in pages)
    assert len(shop.fake.v1.customers.list().data) == 1
    assert len([each for each in shop.sessions() if each.status == "open"]) <= 1
    last = await shop.open(key, "seats")
    (is_open,) = [each for each in shop.sessions() if each.status == "open"]
    assert is_open.url == last["url"]


async def test_a_trial_is_for_the_first_subscription_only(shop: Store) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    await shop.open(key, "pro")
    shop.fake.pay(shop.sessions()[0].id)
    await shop.hear()
    viewer = (await shop.data(SUBSCRIPTION, key=key))["viewer"]
    assert (viewer["subscription"]["status"], viewer["plan"]["id"]) == ("TRIALING", "plan_pro")
    assert (await shop.engine.accounts.get(account.id)).granted_units == 50
    (subscription,) = shop.fake.v1.subscriptions.list().data
    shop.fake.v1.subscriptions.cancel(subscription.id)
    await shop.hear()
    assert (await shop.data(SUBSCRIPTION, key=key))["viewer"]["subscription"] is None
    await shop.open(key, "pro")
    shop.fake.pay(shop.sessions()[0].id)
    await shop.hear()
    assert (await shop.data(SUBSCRIPTION, key=key))["viewer"]["subscription"]["status"] == "ACTIVE"


async def test_a_customer_who_was_deleted_at_stripe_is_made_anew(shop: Store) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    await shop.open(key)
    gone = (await shop.engine.accounts.get(account.id)).stripe_customer_id
    shop.fake.v1.customers.delete(gone)
    again = await shop.open(key)
    assert again["userErrors"] == []
    now = (await shop.engine.accounts.get(account.id)).stripe_customer_id
    assert now not in (gone, None)


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"planId": "plan_free"}, "INVALID_INPUT", ["input", "planId"]),
        ({"planId": "plan_none"}, "INVALID_INPUT", ["input", "planId"]),
        ({"planId": "\0"}, "INVALID_INPUT", ["input", "planId"]),
        ({"successUrl": "https://evil.example/"}, "INVALID_INPUT", ["input", "successUrl"]),
        ({"cancelUrl": "https://evil.example/"}, "INVALID_INPUT", ["input", "cancelUrl"]),
        ({"quantity": 0}, "INVALID_INPUT", None),
        ({"quantity": 10_001}, "INVALID_INPUT", None),
        ({"planId": "plan_scale", "quantity": 2}, "INVALID_INPUT", None),
    ],
)
async def test_what_cannot_be_bought_is_said_with_its_field_and_nothing_happens(
    shop: Store, values: dict[str, Any], code: str, field: list[str] | None
) -> None:
    key = await shop.key(await shop.account(), *BUYER)
    order = shop.order()
    order["i"] |= values
    refused = (await shop.data(CHECKOUT, order, key=key))["createCheckoutSession"]
    assert refused["url"] is None
    assert [(each["code"], each["field"]) for each in refused["userErrors"]] == [(code, field)]
    assert shop.fake.v1.customers.list().data == []
    assert shop.sessions() == []


async def test_a_price_that_differs_from_the_plan_sells_nothing(shop: Store) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    (price,) = shop.fake.v1.prices.list({"lookup_keys": ["seats_monthly"]}).data
    shop.fake.v1.prices.create(
        {
            "product": price.product,
            "currency": "usd",
            "unit_amount": 1,
            "recurring": {"interval": "month"},
            "lookup_key": "seats_monthly",
            "transfer_lookup_key": True,
        }
    )
    reply = await shop.post(CHECKOUT, shop.order(), key=key)
    (error,) = reply.json()["errors"]
    assert error["extensions"]["code"] == "UNAVAILABLE"
    assert "has another amount than the plan; run `api-factory billing setup --apply`" in error["message"]
    assert shop.sessions() == []


async def test_a_test_key_and_a_key_without_the_scope_buy_nothing(shop: Store) -> None:
    account = await shop.account()
    for key in (await shop.key(account, *BUYER, livemode=False), await shop.key(account, "RUN_ACTIONS")):
        for query, variables in (
            (CHECKOUT, shop.order()),
            (PORTAL, {"i": {"returnUrl": "http://localhost/"}}),
        ):
            reply = await shop.post(query, variables, key=key)
            assert reply.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert shop.fake.v1.customers.list().data == []


async def test_no_more_than_ten_pages_a_minute_are_opened_by_a_key(shop: Store) -> None:
    key = await shop.key(await shop.account(), *BUYER)
    order = shop.order()
    order["i"]["successUrl"] = "https://evil.example/"
    for _ in range(10):
        await shop.data(CHECKOUT, order, key=key)
    reply = await shop.post(CHECKOUT, order, key=key)
    assert (reply.status_code, reply.json()["errors"][0]["extensions"]["code"]) == (429, "RATE_LIMITED")


async def test_the_portal_opens_for_who_has_bought_and_is_refused_to_others(shop: Store) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    visit = {"i": {"returnUrl": "http://localhost:3000/account"}}
    refused = (await shop.data(PORTAL, visit, key=key))["createPortalSession"]
    assert refused["url"] is None
    assert [each["code"] for each in refused["userErrors"]] == ["INVALID_STATE"]
    await shop.open(key)
    shop.fake.pay(shop.sessions()[0].id)
    opened = (await shop.data(PORTAL, visit, key=key))["createPortalSession"]
    assert opened["userErrors"] == []
    assert opened["url"].startswith(shop.fake.url)
    visit["i"]["returnUrl"] = "https://evil.example/"
    refused = (await shop.data(PORTAL, visit, key=key))["createPortalSession"]
    assert [each["field"] for each in refused["userErrors"]] == [["input", "returnUrl"]]


async def test_the_plans_show_what_they_cost(shop: Store) -> None:
    query = (
        "{ plans { id sold trialDays price { amount currency }"
        " overagePrice { billedUnits perUnits price { amount currency } } } }"
    )
    plans = {plan["id"]: plan for plan in (await shop.data(query))["plans"]}
    assert plans["plan_free"]["sold"] is False
    assert plans["plan_pro"] == {
        "id": "plan_pro",
        "sold": True,
        "trialDays": 14,
        "price": {"amount": 2_900, "currency": "USD"},
        "overagePrice": None,
    }
    assert plans["plan_scale"]["overagePrice"] == {
        "billedUnits": "BEYOND",
        "perUnits": 1_000,
        "price": {"amount": 20, "currency": "USD"},
    }


async def test_a_grace_is_shown_with_its_end(shop: Store) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    await shop.open(key)
    shop.fake.pay(shop.sessions()[0].id)
    await shop.hear()
    customer = (await shop.engine.accounts.get(account.id)).stripe_customer_id
    shop.fake.control(f"customers/{customer}/card", card="pm_card_chargeCustomerFail")
    (subscription,) = shop.fake.v1.subscriptions.list().data
    method = shop.fake.v1.customers.retrieve(customer).invoice_settings.default_payment_method
    shop.fake.v1.subscriptions.update(subscription.id, {"default_payment_method": method})
    shop.fake.advance(days=32)
    await shop.hear()
    bought = (await shop.data(SUBSCRIPTION, key=key))["viewer"]["subscription"]
    assert bought["status"] == "GRACE"
    assert bought["graceEndsAt"] is not None


async def test_units_beyond_the_quota_are_on_the_invoice_of_the_period_they_were_used_in(
    shop: Store,
) -> None:
    account = await shop.account()
    key = await shop.key(account, *BUYER)
    await shop.open(key, "scale")
    shop.fake.pay(shop.sessions()[0].id)
    await shop.hear()
    bought = await shop.engine.accounts.get(account.id)
    payer = Payer(account.id, key.key.id, True, key.key.epoch, await epoch_of(shop, bought))
    await shop.engine.ledger.charge(payer, [Line("echo", 8_000)], "r")
    (standing,) = await shop.engine.billing.billing.subscriptions(account.id)
    assert standing.current_period_end is not None
    now = await shop.engine.db.fetchval("SELECT af_now()")
    # The period has ended, and Stripe has made a draft of its invoice, which it finalizes after an hour.
    await pass_by(shop, standing.current_period_end - now + timedelta(seconds=90))
    await shop.hear()
    (window,) = await shop.engine.db.fetch("SELECT units, state, counted_at FROM meter_window")
    assert (window["units"], window["state"]) == (3_000, "sent")
    assert window["counted_at"] < standing.current_period_end
    shop.fake.advance(seconds=2 * 3_600)
    renewal = shop.fake.v1.invoices.list().data[0]
    assert (renewal.billing_reason, renewal.status) == ("subscription_cycle", "paid")
    assert renewal.amount_paid == 9_900 + 60


async def epoch_of(shop: Store, account: Any) -> int:
    """Return what the ledger compares: the newest of the account's epoch and its plan's."""
    plan = await shop.engine.db.fetchval("SELECT epoch FROM plan WHERE slug = $1", account.plan_slug)
    return max(int(account.epoch), int(plan))


async def pass_by(shop: Store, time: timedelta) -> None:
    """Let time pass, here and at Stripe."""
    seconds = round(time.total_seconds())
    shop.fake.advance(seconds=seconds)
    await shop.engine.db.execute(
        "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
        f"'SELECT clock_timestamp() + interval ''{seconds} seconds'''"
    )


async def test_nothing_can_be_bought_where_billing_is_not_configured(house: House) -> None:
    key = await house.key(await house.account(plan="pro"), *BUYER)
    order = {"i": {"planId": "plan_pro", "successUrl": "http://localhost/", "cancelUrl": "http://localhost/"}}
    reply = await house.post(CHECKOUT, order, key=key)
    assert reply.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
