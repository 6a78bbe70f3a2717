"""`POST /webhooks/stripe` over the real application and database; the official package signs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from stripe import WebhookSignature

from api.app import create_app
from api_factory.actions import Catalogue, define
from api_factory.db import Database
from api_factory.hello import ping
from api_factory.settings import Settings
from api_factory.wiring import build_engine

PATH = "/webhooks/stripe"
OLD, NEW = "whsec_old_secret", "whsec_new_secret"
EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "customer.subscription.updated",
    "api_version": "2026-10-28.endive",
    "created": 1_795_000_000,
    "livemode": False,
    "data": {"object": {"id": "sub_1", "object": "subscription", "customer": "cus_1"}},
}
BODY = json.dumps(EVENT).encode()


def signed(body: bytes = BODY, secret: str = NEW, *, at: float | None = None) -> dict[str, str]:
    moment = int(time.time() if at is None else at)
    header = WebhookSignature.generate_signature_header(body.decode(), secret, moment)
    return {"Stripe-Signature": header, "Content-Type": "application/json"}


@asynccontextmanager
async def serving(url: str, **facts: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    chosen: dict[str, Any] = {
        "STRIPE_WEBHOOK_SECRET": f"{NEW}, {OLD}",
        "STRIPE_API_KEY": "sk_test_1",
        "max_body_bytes": 2_000,
        **facts,
    }
    settings = Settings(_env_file=None, DATABASE_URL=url, key_pepper="p" * 32, **chosen)  # type: ignore[call-arg]
    engine = build_engine(settings, catalogue=Catalogue([define(ping)]))
    transport = httpx.ASGITransport(create_app(engine), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example.test") as client:
        yield client, engine


@pytest.fixture
async def client(database: Database, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database_url) as (client, _):
        yield client


async def stored(database: Database) -> list[tuple[str, str]]:
    rows = await database.fetch("SELECT event_id, state FROM stripe_event ORDER BY seq")
    return [(row["event_id"], row["state"]) for row in rows]


async def test_a_signed_event_is_stored_before_it_is_answered(
    client: httpx.AsyncClient, database: Database
) -> None:
    reply = await client.post(PATH, content=BODY, headers=signed())
    assert (reply.status_code, reply.json()) == (200, {"received": True, "duplicate": False})
    assert await stored(database) == [("evt_1", "pending")]
    assert await database.fetchval("SELECT body FROM stripe_event") == BODY


async def test_a_second_delivery_is_answered_alike_and_stored_once(
    client: httpx.AsyncClient, database: Database
) -> None:
    replies = await asyncio.gather(
        *[client.post(PATH, content=BODY, headers=signed(at=time.time() - number)) for number in range(20)]
    )
    assert {reply.status_code for reply in replies} == {200}
    assert sum(not reply.json()["duplicate"] for reply in replies) == 1
    assert await stored(database) == [("evt_1", "pending")]


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_either_secret_is_good_while_it_is_rolled(client: httpx.AsyncClient, secret: str) -> None:
    assert (await client.post(PATH, content=BODY, headers=signed(secret=secret))).status_code == 200


async def test_one_header_with_both_signatures_is_good(client: httpx.AsyncClient) -> None:
    moment = time.time()
    other = signed(secret="whsec_unknown", at=moment)["Stripe-Signature"]
    good = signed(at=moment)["Stripe-Signature"].split(",")[1]
    reply = await client.post(PATH, content=BODY, headers={"Stripe-Signature": f"{other},{good}"})
    assert reply.status_code == 200


def shaped(**facts: Any) -> bytes:
    return json.dumps(EVENT | facts).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in EVENT.items() if key != name}).encode()


HEADERS: dict[str, Callable[[], dict[str, str | bytes]]] = {
    "no header": lambda: {},
    "an empty header": lambda: {"Stripe-Signature": ""},
    "no scheme": lambda: {"Stripe-Signature": "abc"},
    "no time": lambda: {"Stripe-Signature": "v1=00"},
    "a time that is none": lambda: {"Stripe-Signature": "t=x,v1=00"},
    "another scheme": lambda: {"Stripe-Signature": signed()["Stripe-Signature"].replace("v1=", "v0=")},
    "no letters of ASCII": lambda: {"Stripe-Signature": f"t={int(time.time())},v1=é".encode("latin-1")},
    "another secret": lambda: {"Stripe-Signature": signed(secret="whsec_other")["Stripe-Signature"]},
    "another body": lambda: {"Stripe-Signature": signed(BODY + b" ")["Stripe-Signature"]},
    "301 seconds ago": lambda: {"Stripe-Signature": signed(at=time.time() - 302)["Stripe-Signature"]},
    "in 301 seconds": lambda: {"Stripe-Signature": signed(at=time.time() + 302)["Stripe-Signature"]},
    "a year ahead": lambda: {"Stripe-Signature": signed(at=time.time() + 31_536_000)["Stripe-Signature"]},
}


@pytest.mark.parametrize("name", HEADERS)
async def test_what_stripe_did_not_sign_just_now_is_400_and_not_stored(
    client: httpx.AsyncClient, database: Database, name: str
) -> None:
    reply = await client.post(PATH, content=BODY, headers=HEADERS[name]())
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_USER_INPUT")
    assert await stored(database) == []


BODIES = {
    "nothing": b"",
    "no JSON": b"hello",
    "a list": b"[]",
    "nothing in it": b"{}",
    "null": b"null",
    "no id": without("id"),
    "an empty id": shaped(id=""),
    "an id that is a number": shaped(id=7),
    "an id with a NUL": shaped(id="evt_\0"),
    "an id of 300": shaped(id="e" * 300),
    "no type": without("type"),
    "no time": without("created"),
    "a time beyond all": shaped(created=10**30),
    "no mode": without("livemode"),
    "no object in it": shaped(data={}),
    "an object that is text": shaped(data={"object": "sub_1"}),
    "a thin event": shaped(object="v2.core.event"),
    "an id in it that is a list": shaped(
        data={"object": {"id": [], "customer": {"id": 3}}}, object="nothing"
    ),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_signed_body_that_is_no_event_is_400_and_not_stored(
    client: httpx.AsyncClient, database: Database, name: str
) -> None:
    body = BODIES[name]
    reply = await client.post(PATH, content=body, headers=signed(body))
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_USER_INPUT")
    assert await stored(database) == []


async def test_a_body_that_is_no_text_is_400(client: httpx.AsyncClient, database: Database) -> None:
    reply = await client.post(PATH, content=b"\xff\xfe{}", headers=signed())
    assert reply.status_code == 400
    assert await stored(database) == []


async def test_a_body_beyond_the_bound_is_413(client: httpx.AsyncClient, database: Database) -> None:
    body = shaped(padding="x" * 3_000)
    reply = await client.post(PATH, content=body, headers=signed(body))
    assert reply.status_code == 413
    assert await stored(database) == []


async def test_ids_that_are_too_long_for_a_row_are_400_and_never_500(
    client: httpx.AsyncClient, database: Database
) -> None:
    for facts in (
        {"data": {"object": {"id": "x" * 400, "object": "subscription", "customer": "cus_1"}}},
        {"data": {"object": {"id": "sub_1", "object": "subscription", "customer": "c" * 400}}},
        {"data": {"object": {"id": "sub_\0", "object": "subscription", "customer": "cus_1"}}},
        {"type": "x" * 200},
        {"api_version": "v" * 300},
        {"api_version": 5},
    ):
        body = shaped(**facts)
        assert (await client.post(PATH, content=body, headers=signed(body))).status_code == 400, facts
    assert await stored(database) == []


async def test_only_post_is_taken(client: httpx.AsyncClient) -> None:
    assert (await client.get(PATH)).status_code == 405


async def test_an_event_of_the_other_mode_is_kept_and_skipped(
    client: httpx.AsyncClient, database: Database
) -> None:
    body = shaped(livemode=True)
    assert (await client.post(PATH, content=body, headers=signed(body))).status_code == 200
    assert await stored(database) == [("evt_1", "skipped")]


async def test_without_a_secret_the_door_is_not_there(database: Database, database_url: str) -> None:
    async with serving(database_url, STRIPE_WEBHOOK_SECRET=" , ") as (client, _):
        reply = await client.post(PATH, content=BODY, headers=signed(secret=" "))
        assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")
        assert "STRIPE_WEBHOOK_SECRET" in reply.json()["detail"]
    assert await stored(database) == []


async def test_a_database_that_is_away_makes_stripe_deliver_again(
    database: Database, database_url: str
) -> None:
    async with serving(database_url) as (client, _):
        await database.close()
        reply = await client.post(PATH, content=BODY, headers=signed())
        assert (reply.status_code, reply.json()["code"]) == (503, "UNAVAILABLE")
        assert reply.headers["retry-after"] == "1"
        await database.open()
    assert await stored(database) == []


async def test_what_happens_at_the_door_is_counted_by_reason(client: httpx.AsyncClient) -> None:
    await client.post(PATH, content=BODY, headers=signed())
    await client.post(PATH, content=BODY, headers=signed())
    await client.post(PATH, content=BODY, headers=signed(secret="whsec_other"))
    text = (await client.get("/metrics")).text
    for kind, outcome in (
        ("customer.subscription.updated", "received"),
        ("customer.subscription.updated", "duplicate"),
        ("unverified", "signature"),
    ):
        assert f'api_factory_stripe_events_total{{outcome="{outcome}",type="{kind}"}} 1.0' in text
    assert "api_factory_stripe_inbox_pending 1.0" in text
    assert "api_factory_stripe_inbox_dead 0.0" in text


async def test_neither_secret_nor_payload_is_in_the_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.post(PATH, content=BODY, headers=signed())
    await client.post(PATH, content=BODY, headers=signed(secret="whsec_other"))
    for secret in (OLD, NEW, "cus_1", "sub_1"):
        assert secret not in caplog.text
