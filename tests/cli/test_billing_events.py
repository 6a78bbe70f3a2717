"""`billing reconcile`, `billing replay` and `worker`, against a fake Stripe in its own process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.cli.conftest import Run, Spawn
from tests.fake_stripe.process import KEY, FakeStripe, running
from tests.fake_stripe.shop import Shop

PLANS = """
[[plan]]
slug = "free"
name = "Free"
quota_units = 1_000

[[plan]]
slug = "pro"
name = "Pro"
stripe_lookup_key = "pro"
quota_units = 100_000
"""


@dataclass
class Buyer:
    """An account, and the shop that it buys from."""

    run: Run
    shop: Shop
    account: str

    def subscribe(self) -> Any:
        return self.shop.subscribe(metadata={"account_id": self.account})

    def plan(self) -> str:
        found: str = self.run("account", "show", self.account, "--json").json["plan"]
        return found


@pytest.fixture(scope="module")
def stripe() -> Iterator[FakeStripe]:
    with running("--seed", "2") as fake:
        yield fake


@pytest.fixture
def buyer(here: Run, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Buyer:
    stripe.control("reset", seed="2")
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    monkeypatch.setenv("STRIPE_API_BASE", stripe.url)
    (tmp_path / "plans.toml").write_text(PLANS)
    monkeypatch.setenv("API_FACTORY_PLANS_FILE", str(tmp_path / "plans.toml"))
    account = here("account", "create", "--email", "buyer@example.com", "--json").json["id"]
    return Buyer(here, Shop.open(stripe), account)


def test_what_differs_is_shown_and_applied_only_when_asked(buyer: Buyer) -> None:
    buyer.subscribe()
    dry = buyer.run("billing", "reconcile", "--json")
    assert (dry.code, [each["kind"] for each in dry.json["differences"]]) == (1, ["missing_here"])
    assert buyer.plan() == "free"
    applied = buyer.run("billing", "reconcile", "--apply", "--json")
    assert (applied.code, applied.json["left"]) == (0, [])
    assert buyer.plan() == "pro"
    again = buyer.run("billing", "reconcile", "--json")
    assert (again.code, again.json["differences"], again.json["missing_events"]) == (0, [], [])


def test_what_a_person_has_to_decide_is_left_and_said(buyer: Buyer) -> None:
    buyer.shop.subscribe()
    applied = buyer.run("billing", "reconcile", "--apply")
    assert applied.code == 1
    assert "paid_without_account" in applied.stdout
    assert "decide what is left" in applied.stderr


def test_an_event_that_never_came_can_be_replayed(buyer: Buyer) -> None:
    buyer.subscribe()
    events = buyer.shop.v1.events.list({"types": ["customer.subscription.created"]}).data
    replayed = buyer.run("billing", "replay", events[0].id, "--json")
    assert replayed.json == {"event": events[0].id, "was": "missing", "state": "done"}
    assert buyer.plan() == "pro"
    assert buyer.run("billing", "replay", events[0].id, "--json").json["was"] == "done"


def test_an_event_of_nobody_is_refused_with_what_to_do(buyer: Buyer) -> None:
    refused = buyer.run("billing", "replay", "evt_nobody", "--json")
    assert (refused.code, json.loads(refused.stderr.splitlines()[-1])["error"]["code"]) == (1, "NOT_FOUND")


def test_without_a_key_the_command_says_which_setting_is_missing(here: Run) -> None:
    refused = here("billing", "reconcile")
    assert refused.code == 1
    assert "STRIPE_API_KEY" in refused.stderr


async def _plan_of(url: str, account: str) -> str | None:
    connection = await asyncpg.connect(url)
    try:
        found: str | None = await connection.fetchval("SELECT plan FROM account WHERE email = $1", account)
        return found
    finally:
        await connection.close()


def test_a_worker_takes_over_from_one_that_was_killed_and_ends_when_asked(
    buyer: Buyer, spawn: Spawn, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    environment = {
        "DATABASE_URL": fresh_database_url,
        "STRIPE_API_KEY": KEY,
        "STRIPE_API_BASE": buyer.shop.fake.url,
        "API_FACTORY_PLANS_FILE": str(tmp_path / "plans.toml"),
    }
    first = spawn("worker", "--json", **environment)
    assert json.loads(first.line())["stripe"] == "works"
    first.child.kill()
    first.child.wait()
    second = spawn("worker", "--json", **environment)
    second.line()
    buyer.subscribe()
    event = buyer.shop.v1.events.list({"types": ["customer.subscription.created"]}).data[0]
    insert = (
        "INSERT INTO stripe_event (event_id, type, line, customer_id, source, body, created_at, received_at,"
        " next_attempt_at) VALUES ($1, $2, $3, $3, 'webhook', '', now(), now(), now())"
    )
    asyncio.run(_execute(fresh_database_url, insert, event.id, event.type, event.data.object.customer))
    deadline = time.monotonic() + 30
    while asyncio.run(_plan_of(fresh_database_url, "buyer@example.com")) != "pro":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert second.stop().code == 0


async def _execute(url: str, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
