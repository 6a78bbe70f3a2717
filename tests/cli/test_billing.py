"""`api-factory billing setup|doctor|meters` and `notice`, against a Stripe in its own process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.fake_stripe.process import KEY, FakeStripe, running

URL = "https://api.example.com"


@pytest.fixture(scope="session")
def one_fake() -> Iterator[FakeStripe]:
    with running("--seed", "1") as fake:
        yield fake


@pytest.fixture
def fake(one_fake: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> FakeStripe:
    """An empty Stripe, and the settings that lead to it."""
    one_fake.control("reset", seed="1")
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    monkeypatch.setenv("STRIPE_API_BASE", one_fake.url)
    monkeypatch.setenv("API_FACTORY_PUBLIC_URL", URL + "/")
    return one_fake


def by_check(findings: Any) -> dict[str, Any]:
    return {each["check"]: each for each in findings}


def test_setup_says_what_it_would_do_then_does_it_once(here: Run, fake: FakeStripe) -> None:
    dry = here("billing", "setup", "--json")
    assert (dry.json["applied"], dry.json["mode"], dry.json["webhook_secret"]) == (False, "test", None)
    assert {step["verb"] for step in dry.json["steps"]} == {"create"}
    assert "api-factory billing setup --apply" in dry.stderr
    assert fake.v1.prices.list().data == []
    done = here("billing", "setup", "--apply", "--json")
    assert done.json["webhook_secret"].startswith("whsec_")
    (endpoint,) = fake.v1.webhook_endpoints.list().data
    assert endpoint.url == f"{URL}/webhooks/stripe"
    again = here("billing", "setup", "--apply", "--json")
    assert {step["verb"] for step in again.json["steps"]} == {"keep"}
    assert again.json["webhook_secret"] is None


def test_setup_prints_the_secret_once_on_stdout_and_never_as_talk(here: Run, fake: FakeStripe) -> None:
    done = here("billing", "setup", "--apply")
    assert done.stdout.count("STRIPE_WEBHOOK_SECRET=whsec_") == 1
    assert "whsec_" not in done.stderr
    assert "whsec_" not in here("billing", "setup", "--apply").stdout


def test_setup_without_a_key_says_which_setting_is_missing(here: Run) -> None:
    refused = here("billing", "setup")
    assert refused.code == 1
    assert "STRIPE_API_KEY" in refused.stderr


def test_the_doctor_without_a_key_finds_that_alone(here: Run) -> None:
    outcome = here("billing", "doctor", "--json")
    assert outcome.code == 1
    assert [(each["check"], each["status"]) for each in outcome.json] == [("key", "fail")]


def test_the_doctor_finds_nothing_wrong_after_a_setup(
    here: Run, fake: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = here("billing", "setup", "--apply", "--json").json["webhook_secret"]
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", secret)
    outcome = here("billing", "doctor", "--json")
    assert {each["check"]: each["status"] for each in outcome.json} == dict.fromkeys(
        (
            "key",
            "mode",
            "clock",
            "webhook secret",
            "webhook endpoint",
            "last event",
            "prices",
            "meter",
            "portal",
            "return addresses",
            "notices",
        ),
        "ok",
    ), outcome.stdout
    assert outcome.code == 0
    assert secret not in outcome.stdout + outcome.stderr


def test_the_doctor_of_an_empty_stripe_names_each_thing_and_one_command_that_mends_it(
    here: Run, fake: FakeStripe
) -> None:
    outcome = here("billing", "doctor", "--json")
    assert outcome.code == 1
    found = by_check(outcome.json)
    failed = {name for name, each in found.items() if each["status"] == "fail"}
    assert failed == {"webhook secret", "webhook endpoint", "prices", "meter", "portal"}
    assert all("billing setup --apply" in found[name]["fix"] for name in failed)
    assert "pro_monthly (no price)" in found["prices"]["detail"]


def test_the_doctor_finds_an_endpoint_of_another_version_or_without_events(
    here: Run, fake: FakeStripe
) -> None:
    wanted: Any = {"url": f"{URL}/webhooks/stripe", "enabled_events": ["*"], "api_version": "2024-06-20"}
    old = fake.v1.webhook_endpoints.create(wanted)
    detail = by_check(here("billing", "doctor", "--json").json)["webhook endpoint"]["detail"]
    assert "speaks API version 2024-06-20 and this server 2026-10-28.endive" in detail
    fake.v1.webhook_endpoints.delete(old.id)
    made = fake.v1.webhook_endpoints.create(
        {"url": f"{URL}/webhooks/stripe", "enabled_events": ["invoice.paid"]}
    )
    detail = by_check(here("billing", "doctor", "--json").json)["webhook endpoint"]["detail"]
    assert "does not send" in detail
    assert "customer.subscription.deleted" in detail
    fake.v1.webhook_endpoints.update(made.id, {"disabled": True})
    assert "disabled" in by_check(here("billing", "doctor", "--json").json)["webhook endpoint"]["detail"]


def test_the_doctor_finds_an_event_that_never_came(here: Run, fake: FakeStripe) -> None:
    here("billing", "setup", "--apply")
    customer = fake.v1.customers.create().id
    fake.control(f"customers/{customer}/card", card="pm_card_visa")
    assert by_check(here("billing", "doctor", "--json").json)["last event"]["status"] == "ok"
    fake.v1.customers.update(customer, {"name": "A"})
    # The event was made an hour ago by Stripe's own clock, and an answer's date is the machine's.
    newest = fake.v1.events.list({"limit": 1, "types": ["customer.updated"]}).data[0]
    fake.control(f"objects/{newest.id}", fields={"created": newest.created - 3_600})
    finding = by_check(here("billing", "doctor", "--json").json)["last event"]
    assert finding["status"] == "fail"
    assert "has not arrived" in finding["detail"]
    assert "billing reconcile --apply" in finding["fix"]


def test_the_doctor_finds_a_price_that_somebody_changed(here: Run, fake: FakeStripe) -> None:
    here("billing", "setup", "--apply")
    (price,) = fake.v1.prices.list({"lookup_keys": ["pro_monthly"]}).data
    fake.v1.prices.update(price.id, {"active": False})
    finding = by_check(here("billing", "doctor", "--json").json)["prices"]
    assert (finding["status"], finding["detail"]) == (
        "fail",
        "Stripe differs from the plans: pro_monthly (active)",
    )


def test_meters_agree_when_nothing_was_sent(here: Run, fake: FakeStripe) -> None:
    outcome = here("billing", "meters", "--send", "--json")
    assert (outcome.code, outcome.json) == (
        0,
        {"customers": 0, "pending_units": 0, "dead_units": 0, "differences": []},
    )


def test_a_test_notice_without_a_channel_says_which_settings_are_missing(here: Run) -> None:
    outcome = here("notice", "test", "--json")
    assert (outcome.code, outcome.json) == (1, [])
    assert "API_FACTORY_NOTICE_URL" in outcome.stderr


def test_a_notice_that_does_not_arrive_is_listed_and_sent_again(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_FACTORY_NOTICE_URL", "http://127.0.0.1:1/hook")
    monkeypatch.setenv("API_FACTORY_NOTICE_SECRET", "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0")
    outcome = here("notice", "test", "--json")
    assert outcome.code == 1
    (sent,) = outcome.json
    assert (sent["kind"], sent["channel"], sent["state"]) == ("notice.test", "webhook", "pending")
    assert "127.0.0.1" not in outcome.stdout
    (listed,) = here("notice", "list", "--json").json
    assert listed["id"] == sent["id"]
    assert here("notice", "resend", sent["id"], "--json").json == {"notice": sent["id"], "deliveries": 0}
    assert here("notice", "resend", "msg_x").code == 1


def test_a_weak_notice_secret_stops_every_command_with_its_name(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_FACTORY_NOTICE_URL", "http://127.0.0.1:1/hook")
    monkeypatch.setenv("API_FACTORY_NOTICE_SECRET", "hunter2")
    outcome = here("notice", "list")
    assert outcome.code == 1
    assert "API_FACTORY_NOTICE_SECRET" in outcome.stderr
    assert "hunter2" not in outcome.stderr
