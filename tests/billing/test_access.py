"""What a hold of billing means at the door and in the ledger, with all of it on: cache, guard, committer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api_factory.accounts import Entitlement
from api_factory.actions import Catalogue, action, define
from api_factory.audit import Actor
from api_factory.db import Database
from api_factory.errors import InvalidState
from api_factory.keys import NewKey
from api_factory.settings import Settings
from api_factory.wiring import Engine, build_engine
from tests.billing.ground import BY, PLANS, Ground
from tests.fake_stripe.process import KEY, FakeStripe
from tests.fake_stripe.shop import Shop

HELD = Entitlement(plan_slug="free", hold="The subscription is unpaid.", hold_url="https://pay.example/in_1")
_APPS: list[Any] = []
"""The application of the engine under test: one schema is built for it, not one a call."""


@action(units=2)
async def work() -> str:
    """Do something that costs."""
    return "done"


@pytest.fixture
async def engine(
    database: Database, database_url: str, tmp_path: Path, stripe_process: FakeStripe
) -> AsyncIterator[Engine]:
    stripe_process.control("reset", seed="1")
    facts: dict[str, Any] = {"STRIPE_API_KEY": KEY, "STRIPE_API_BASE": stripe_process.url}
    settings = Settings(_env_file=None, DATABASE_URL=database_url, data_dir=tmp_path, **facts)  # type: ignore[call-arg]
    engine = build_engine(settings, catalogue=Catalogue([define(work)]))
    await database.close()
    await engine.open()
    await engine.plans.apply(PLANS, by=BY)
    _APPS[:] = [create_app(engine)]
    yield engine
    _APPS.clear()
    await engine.close()
    await database.open()


async def called(engine: Engine, secret: str) -> httpx.Response:
    transport = httpx.ASGITransport(_APPS[0], raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example.test") as client:
        return await client.post(
            "/api/v1/actions/work", json={}, headers={"Authorization": f"Bearer {secret}"}
        )


async def test_a_held_account_is_told_to_pay_and_where(engine: Engine) -> None:
    account = await engine.accounts.create("owner@example.com", by=BY)
    issued = await engine.keys.create(account.id, NewKey(name="k"), by=BY)
    assert (await called(engine, issued.secret)).status_code == 200
    await engine.accounts.entitle(account.id, HELD, by=BY)
    await engine.key_cache.poll()
    refused = await called(engine, issued.secret)
    assert (refused.status_code, refused.json()["code"]) == (402, "PAYMENT_REQUIRED")
    assert refused.json()["payUrl"] == "https://pay.example/in_1"
    assert (await engine.usage.standing(account.id)).used == 2
    await engine.accounts.entitle(account.id, Entitlement(plan_slug="free"), by=BY)
    await engine.key_cache.poll()
    assert (await called(engine, issued.secret)).status_code == 200
    assert (await engine.usage.standing(account.id)).used == 4


async def test_no_charge_commits_after_the_hold_has_returned(engine: Engine) -> None:
    account = await engine.accounts.create("owner@example.com", by=BY)
    issued = await engine.keys.create(account.id, NewKey(name="k"), by=BY)
    replies: list[httpx.Response] = []

    async def calling() -> None:
        while not replies or replies[-1].status_code == 200:
            replies.append(await called(engine, issued.secret))

    callers = [asyncio.create_task(calling()) for _ in range(4)]
    while sum(reply.status_code == 200 for reply in replies) < 8:
        await asyncio.sleep(0.01)
    await engine.accounts.entitle(account.id, HELD, by=BY)
    used = (await engine.usage.standing(account.id)).used
    await asyncio.gather(*callers)
    assert (await engine.usage.standing(account.id)).used == used
    assert used >= 16


async def test_operator_and_billing_each_end_only_what_they_began(engine: Engine) -> None:
    account = await engine.accounts.create("owner@example.com", by=BY)
    held = await engine.accounts.entitle(account.id, HELD, by=BY)
    assert held.status == "UNPAID"
    with pytest.raises(InvalidState):
        await engine.accounts.resume(account.id, by=BY)
    both = await engine.accounts.suspend(account.id, reason="abuse", by=BY)
    assert (both.status, both.billing_hold) == ("SUSPENDED", HELD.hold)
    paid = await engine.accounts.entitle(account.id, Entitlement(plan_slug="free"), by=BY)
    assert (paid.status, paid.suspended_reason) == ("SUSPENDED", "abuse")
    assert (await engine.accounts.entitle(account.id, HELD, by=BY)).status == "SUSPENDED"
    assert (await engine.accounts.resume(account.id, by=BY)).status == "UNPAID"


async def test_the_same_entitlement_again_changes_nothing_and_disturbs_no_cache(engine: Engine) -> None:
    account = await engine.accounts.create("owner@example.com", by=BY)
    first = await engine.accounts.entitle(account.id, HELD, by=BY)
    again = await engine.accounts.entitle(account.id, HELD, by=Actor("system", "stripe"))
    assert again == first
    verbs = [entry.verb for entry in await engine.audit.entries(target_id=account.public_id)]
    assert verbs == ["staff:account:entitled", "staff:account:created"]


async def test_granted_units_are_a_wall_for_the_ledger_and_an_override_wins(engine: Engine) -> None:
    account = await engine.accounts.create("owner@example.com", by=BY)
    issued = await engine.keys.create(account.id, NewKey(name="k"), by=BY)
    await engine.accounts.entitle(account.id, Entitlement(plan_slug="pro", granted_units=3), by=BY)
    await engine.key_cache.poll()
    assert [(await called(engine, issued.secret)).status_code for _ in range(2)] == [200, 429]
    await engine.accounts.set_quota(account.id, 4, reason="a deal", by=BY)
    await engine.key_cache.poll()
    assert [(await called(engine, issued.secret)).status_code for _ in range(2)] == [200, 429]
    assert (await engine.usage.standing(account.id)).included == 4


async def test_a_subscription_opens_a_period_and_an_upgrade_keeps_what_was_used(engine: Engine) -> None:
    ground_shop = Shop.open(_fake(engine))
    account = await engine.accounts.create("owner@example.com", by=BY)
    issued = await engine.keys.create(account.id, NewKey(name="k"), by=BY)
    await called(engine, issued.secret)
    customer = ground_shop.customer()
    await engine.accounts.link_customer(account.id, customer, by=BY)
    subscription = ground_shop.subscribe(customer=customer)
    await _settle(engine, customer)
    await engine.key_cache.poll()
    standing = await engine.usage.standing(account.id)
    assert (standing.used, standing.included) == (0, 100_000)
    period_start = (await engine.billing.billing.subscriptions(account.id))[0].current_period_start
    assert standing.period_start == period_start
    await called(engine, issued.secret)
    item = subscription["items"].data[0].id
    ground_shop.v1.subscriptions.update(
        subscription.id, {"items": [{"id": item, "price": ground_shop.scale}]}
    )
    await _settle(engine, customer)
    after = await engine.usage.standing(account.id)
    assert (after.used, after.included, after.period_start) == (2, 5_000_000, period_start)


async def test_a_hold_and_its_end_need_no_restart_and_no_second_event(ground: Ground) -> None:
    subscription = ground.subscribe()
    ground.shop.card(subscription, "insufficient_funds")
    await ground.advance(days=32)
    await ground.deliver()
    await ground.advance(days=8)
    # Either of the two may come too late to find it due.
    found = await asyncio.gather(ground.billing.suspend_due(), ground.billing.suspend_due())
    assert sorted(found) in ([0, 1], [1, 1])
    assert await ground.access() == ("pro", "UNPAID")
    assert (await ground.notices()).count("billing.suspended") == 1
    (episode,) = await ground.episodes()
    assert (episode.stage, episode.grace_ends_at) == ("suspended", episode.opened_at + timedelta(days=7))
    ground.shop.card(subscription, "succeeds")
    ground.fake.v1.invoices.pay(ground.shop.now(subscription).latest_invoice)
    paid = [each for each in ground.events() if b'"invoice.paid"' in each]
    await ground.deliver(paid)
    assert await ground.access() == ("pro", "ACTIVE")


def _fake(engine: Engine) -> FakeStripe:
    assert engine.settings.stripe_api_base is not None
    return FakeStripe(engine.settings.stripe_api_base, None)  # type: ignore[arg-type]


async def _settle(engine: Engine, customer: str) -> None:
    """Let the customer be fetched by the workers of the engine, and wait until it is done."""
    await engine.billing.inbox.refresh(customer)
    async with asyncio.timeout(30):
        while await engine.db.fetchval(
            "SELECT count(*) FROM stripe_event WHERE state IN ('pending', 'processing')"
        ):
            await asyncio.sleep(0.02)
