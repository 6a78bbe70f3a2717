"""The process: its clock, its state file, its first page, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import stripe

from tests.fake_stripe.process import ROOT, FakeStripe, running
from tests.fake_stripe.shop import DAY, NOW, Shop, item

PARENT = """
import os, subprocess, sys
command = [sys.executable, "-m", "fake_stripe", "--port", "0", "--parent", str(os.getpid())]
child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline())
"""


def test_the_clock_stands_until_it_is_advanced_and_is_never_put_back(fake: FakeStripe) -> None:
    assert fake.look()["now"] == NOW
    assert fake.advance(days=1, seconds=5) == NOW + DAY + 5
    assert fake.advance(to=NOW + 2 * DAY) == NOW + 2 * DAY
    with pytest.raises(AssertionError, match="never put back"):
        fake.advance(to=NOW)


def test_what_falls_due_happens_at_its_own_time_and_in_order(shop: Shop) -> None:
    subscription = shop.subscribe(trial_period_days=10)
    shop.v1.subscriptions.update(subscription.id, {"cancel_at": NOW + 20 * DAY})
    before = len(shop.types())
    shop.fake.advance(days=25)
    events = list(shop.v1.events.list({"limit": 100}).auto_paging_iter())[::-1][before:]
    moments = [event.created for event in events]
    assert moments == sorted(moments)
    assert [event.created for event in events if event.type.endswith(("will_end", "deleted"))] == [
        NOW + 7 * DAY,
        NOW + 20 * DAY,
    ]


def test_without_a_standing_time_the_clock_runs_with_the_machines() -> None:
    with running("--seed", "1") as fake:
        assert abs(fake.look()["now"] - time.time()) <= 5
        ahead = fake.advance(days=40)
        assert ahead - time.time() > 39 * DAY


def test_a_restart_with_the_state_file_forgets_nothing(tmp_path: Path) -> None:
    state = str(tmp_path / "state.json")
    with running("--state", state, "--stands-at", str(NOW)) as fake:
        shop = Shop.open(fake)
        subscription = shop.subscribe()
        fake.v1.customers.create({"name": "once"}, {"idempotency_key": "k1"})
        fake.control("policy", final_action="unpaid")
        fake.advance(days=1)
    with running("--state", state) as fake:
        again = Shop(fake, shop.product, shop.pro, shop.scale, shop.meter, shop.metered)
        assert (fake.look()["now"], fake.look()["policy"]["final_action"]) == (NOW + DAY, "unpaid")
        count = len(fake.v1.customers.list().data)
        fake.v1.customers.create({"name": "once"}, {"idempotency_key": "k1"})
        assert len(fake.v1.customers.list().data) == count
        assert again.invoice(subscription).hosted_invoice_url.startswith(fake.url)
        fake.v1.prices.update(shop.pro, {"lookup_key": "renamed"})
        assert item(again.now(subscription)).price.lookup_key == "renamed"
        fake.advance(days=30)
        assert item(again.now(subscription)).current_period_start == NOW + 28 * DAY
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0


def test_the_same_seed_makes_the_same_ids() -> None:
    made = []
    for seed in ("5", "5", "6"):
        with running("--seed", seed) as fake:
            made.append(fake.v1.customers.create({}).id)
    assert made[0] == made[1] != made[2]


def test_the_first_page_shows_the_account_and_advances_its_clock(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/hook", "enabled_events": ["*"]})
    page = httpx.get(shop.fake.url, trust_env=False).text
    for part in (subscription.id, "2026-01-31 12:00 UTC", "http://127.0.0.1:9/hook", "invoice.paid"):
        assert part in page
    assert shop.click(f"{shop.fake.url}/advance", days="31").status_code == 303
    assert shop.fake.look()["now"] == NOW + 31 * DAY
    shop.click(f"{shop.fake.url}/advance", days="-1")
    assert shop.fake.look()["now"] == NOW + 31 * DAY


@pytest.mark.parametrize("path", ["c/pay/cs_none", "p/session/bps_none", "i/in_none", "i/in_none/pdf"])
def test_a_page_that_is_not_there_says_so(fake: FakeStripe, path: str) -> None:
    answer = httpx.get(f"{fake.url}/{path}", trust_env=False)
    assert answer.status_code == 404
    assert "does not exist" in answer.text


def test_a_running_clock_brings_things_about_by_itself() -> None:
    with running("--seed", "1") as fake:
        shop = Shop.open(fake)
        session = shop.subscribe(shop.pro, trial_period_days=1)
        fake.advance(to=session.trial_end - 1)
        deadline = time.monotonic() + 30
        while shop.now(session).status == "trialing":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert shop.now(session).status == "active"


def test_it_ends_when_its_parent_does() -> None:
    # The pipe of stderr is the child's too: this returns only when both have ended.
    parent = subprocess.run([sys.executable, "-c", PARENT], cwd=ROOT, capture_output=True, timeout=60)
    with pytest.raises(httpx.TransportError):
        httpx.get(json.loads(parent.stdout)["url"], trust_env=False)


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("advance", b"no json", "not JSON"),
        ("advance", b"[]", "no JSON object"),
        ("advance", b'{"weeks": 1}', "unknown parameter"),
        ("nothing", b"{}", "Unrecognized request URL"),
        ("faults", b'{"kind": "earthquake"}', "must be one of"),
        ("faults", b"{}", "Missing required param"),
        ("checkout/cs_none/pay", b"{}", "No such checkout.session"),
        ("cards/pm_none", b"{}", "No such PaymentMethod"),
        ("events", b'{"type": "a", "object": "nobody"}', "No such object"),
        ("objects/nobody", b'{"fields": {}}', "No such object"),
        ("policy", b'{"final_action": "forgive"}', "must be one of"),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(
    fake: FakeStripe, path: str, body: bytes, sentence: str
) -> None:
    answer = httpx.post(f"{fake.url}/_fake/{path}", content=body, trust_env=False)
    assert answer.status_code in (400, 404)
    assert sentence in answer.json()["error"]["message"]


def test_bytes_that_are_no_text_are_a_400(fake: FakeStripe) -> None:
    answer = httpx.post(
        f"{fake.url}/v1/customers",
        content=b"name=\xff&%ff=%ff",
        headers={"Authorization": "Bearer sk_test_1"},
        trust_env=False,
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_two_clients_at_once_lose_nothing(fake: FakeStripe) -> None:
    def make(number: int) -> str:
        made: str = (
            fake.client().v1.customers.create({"name": str(number)}, {"idempotency_key": str(number % 10)}).id
        )
        return made

    with ThreadPoolExecutor(8) as threads:
        with pytest.raises(stripe.IdempotencyError):
            list(threads.map(make, range(20)))
        assert len({one.id for one in fake.v1.customers.list({"limit": 100}).data}) == 10
