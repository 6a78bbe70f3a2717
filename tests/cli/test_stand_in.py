"""`api-factory demo` and the stand-in for Stripe beside it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from tests.cli.conftest import START_SECONDS, Run, Served, Spawn

KEY = "sk_test_any"


@pytest.fixture
def database(fresh_database_url: str) -> dict[str, str]:
    """The variable that spares the demo a database of its own."""
    return {"DATABASE_URL": fresh_database_url}


def client(url: str) -> Any:
    return stripe.StripeClient(KEY, base_addresses={"api": url}, max_network_retries=0).v1


def ready(served: Served) -> dict[str, str]:
    found: dict[str, str] = json.loads(served.line())
    return found


def the_stand_in_of(served: Served) -> int:
    """Return the process id of the demo's child that is the stand-in."""
    pid = served.child.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "fake_stripe" in Path(f"/proc/{child}/cmdline").read_text():
            return int(child)
    raise AssertionError("the demo has no stand-in")


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def until(true: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_demo_starts_it_and_has_its_events_sent_here(spawn: Spawn, database: dict[str, str]) -> None:
    served = spawn("demo", "--port", "0", "--json", **database)
    said = ready(served)
    (endpoint,) = client(said["stripe"]).webhook_endpoints.list().data
    assert endpoint.url == f"{said['url']}/webhooks/stripe"
    pid = the_stand_in_of(served)
    assert served.stop(signal.SIGINT).code == 0
    assert has_ended(pid)


def test_it_dies_with_a_demo_that_is_killed(spawn: Spawn, database: dict[str, str]) -> None:
    served = spawn("demo", "--port", "0", "--json", **database)
    ready(served)
    pid = the_stand_in_of(served)
    served.child.kill()
    until(lambda: has_ended(pid))


def test_killed_it_is_started_again_at_its_address_and_has_forgotten_nothing(
    spawn: Spawn, database: dict[str, str]
) -> None:
    served = spawn("demo", "--port", "0", "--json", **database)
    url = ready(served)["stripe"]
    customer = client(url).customers.create({"email": "buyer@example.com"}).id
    os.kill(the_stand_in_of(served), signal.SIGKILL)

    def is_back() -> bool:
        try:
            return httpx.get(f"{url}/_fake", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    until(is_back)
    assert client(url).customers.retrieve(customer).email == "buyer@example.com"
    assert served.stop().code == 0


def test_the_next_demo_finds_what_was_bought_in_the_last(spawn: Spawn, database: dict[str, str]) -> None:
    first = spawn("demo", "--port", "0", "--json", **database)
    customer = client(ready(first)["stripe"]).customers.create({"email": "buyer@example.com"}).id
    assert first.stop().code == 0
    second = spawn("demo", "--port", "0", "--json", **database)
    said = ready(second)
    assert client(said["stripe"]).customers.retrieve(customer).email == "buyer@example.com"
    assert [one.url for one in client(said["stripe"]).webhook_endpoints.list().data] == [
        f"{said['url']}/webhooks/stripe"
    ]


def test_with_a_test_key_of_stripes_the_demo_starts_none(spawn: Spawn, database: dict[str, str]) -> None:
    served = spawn("demo", "--port", "0", "--json", STRIPE_API_KEY=KEY, **database)
    assert "stripe" not in ready(served)
    assert served.stop().code == 0


@pytest.mark.parametrize("kind", ["sk", "rk"])
def test_the_demo_refuses_a_live_key(apart: Run, database: dict[str, str], kind: str) -> None:
    refused = apart("demo", "--port", "0", STRIPE_API_KEY=f"{kind}_live_1", **database)
    assert refused.code == 1
    assert "STRIPE_API_KEY is a live key" in refused.stderr
    assert f"{kind}_live_1" not in refused.stderr


def test_production_refuses_a_stand_in(apart: Run, database: dict[str, str]) -> None:
    refused = apart(
        "serve",
        API_FACTORY_ENV="production",
        API_FACTORY_KEY_PEPPER="abcdefghijklmnopqrstuvwxyz0123456789",
        API_FACTORY_METRICS_TOKEN="0123456789abcdef",
        STRIPE_API_BASE="http://127.0.0.1:12111",
        **database,
    )
    assert refused.code == 1
    assert "STRIPE_API_BASE" in refused.stderr


CHECKOUT = """mutation($url: String!) {
  createCheckoutSession(input: {planId: "pro", successUrl: $url, cancelUrl: $url}) {
    url userErrors { message }
  }
}"""
PORTAL = """mutation($url: String!) {
  createPortalSession(input: {returnUrl: $url}) { url userErrors { message } }
}"""


def ask(said: dict[str, str], query: str, **variables: str) -> Any:
    headers = {"Authorization": f"Bearer {said['key']}"}
    body = {"query": query, "variables": variables}
    answer = httpx.post(said["graphql"], json=body, headers=headers, timeout=60, trust_env=False).json()
    assert "errors" not in answer, answer
    return answer["data"]


def plan_of(said: dict[str, str]) -> str:
    return str(ask(said, "{ viewer { plan { id } } }")["viewer"]["plan"]["id"])


def test_in_the_demo_a_plan_is_bought_and_cancelled_by_clicking(
    spawn: Spawn, database: dict[str, str]
) -> None:
    served = spawn("demo", "--port", "0", "--json", **database)
    said = ready(served)
    assert plan_of(said) == "plan_free"
    bought = ask(said, CHECKOUT, url=f"{said['url']}/")["createCheckoutSession"]
    assert bought["userErrors"] == []
    paid = httpx.post(bought["url"], data={"card": "pm_card_visa"}, trust_env=False)
    assert (paid.status_code, paid.headers["location"]) == (303, f"{said['url']}/")
    until(lambda: plan_of(said) == "plan_pro")
    portal = ask(said, PORTAL, url=f"{said['url']}/")["createPortalSession"]["url"]
    (subscription,) = client(said["stripe"]).subscriptions.list().data
    form = {"action": "cancel_now", "subscription": subscription.id}
    assert httpx.post(portal, data=form, trust_env=False).status_code == 303
    until(lambda: plan_of(said) == "plan_free")
    assert served.stop().code == 0
