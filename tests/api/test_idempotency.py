"""Idempotency-Key on REST, through the whole application on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api.app import create_app
from api_factory.actions import ActionError, Catalogue, action, define
from api_factory.audit import Actor
from api_factory.db import Database
from api_factory.hello import echo, ping
from api_factory.keys import NewKey
from api_factory.settings import Settings
from api_factory.usage.idempotency import BODY_BYTES_MAX
from api_factory.wiring import Engine, build_engine

if TYPE_CHECKING:
    from uuid import UUID

BY = Actor("cli", "tests")
GATES: dict[str, asyncio.Event] = {}
RUNS: list[str] = []


@action(units=2, kind="mutation")
async def order(what: str) -> str:
    """Order something, when the gate of that name is open."""
    RUNS.append(what)
    if what in GATES:
        await GATES[what].wait()
    if what == "nothing":
        raise ActionError("There is nothing to order.", "NOTHING", left=0)
    if what == "crash":
        raise RuntimeError("it broke")
    return what * 3 if what != "much" else "m" * (BODY_BYTES_MAX + 1)


@dataclass
class Shop:
    """A client of the whole application."""

    engine: Engine
    http: httpx.AsyncClient
    account_id: UUID

    async def order(
        self, what: str, name: Any = "n1", path: str = "/order", **options: Any
    ) -> httpx.Response:
        names = [name] if isinstance(name, (str, bytes)) else name
        fields: Any = [("idempotency-key", each) for each in names]
        return await self.http.post(f"/api/v1/actions{path}", json={"what": what}, headers=fields, **options)

    async def used(self) -> tuple[int, int]:
        standing = await self.engine.usage.standing(self.account_id)
        return standing.used, standing.reserved


@pytest.fixture
async def shop(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    GATES.clear()
    RUNS.clear()
    settings = Settings(DATABASE_URL=database_url, data_dir=tmp_path, _env_file=None)  # type: ignore[call-arg]
    engine = build_engine(settings, catalogue=Catalogue([define(each) for each in (ping, echo, order)]))
    await database.close()
    await engine.open()
    account = await engine.accounts.create("shop@example.test", rate="100000/second", by=BY)
    issued = await engine.keys.create(account.id, NewKey(name="k"), by=BY)
    headers = {"Authorization": f"Bearer {issued.secret}"}
    transport = httpx.ASGITransport(create_app(engine), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as http:
        yield Shop(engine, http, account.id)
    await engine.close()
    await database.open()


async def test_a_retry_gets_status_type_and_body_of_the_first_reply(shop: Shop) -> None:
    """Fails when the body is written anew for the retry: it would hold another request id and no units."""
    first = await shop.order("tea")
    again = await shop.order("tea", '"n1"')
    assert first.json() == {"data": "teateatea", "units": 2, "requestId": first.headers["x-request-id"]}
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-original-request-id"] == first.headers["x-request-id"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert again.headers["cache-control"] == "no-store"
    assert "ratelimit" in again.headers
    assert RUNS == ["tea"]
    assert await shop.used() == (2, 0)


async def test_a_failed_action_is_replayed_as_the_same_problem(shop: Shop) -> None:
    first = await shop.order("nothing")
    again = await shop.order("nothing")
    assert (first.status_code, first.json()["code"]) == (422, "NOTHING")
    assert (again.status_code, again.content) == (422, first.content)
    assert again.headers["content-type"] == "application/problem+json"
    assert again.headers["idempotency-replayed"] == "true"
    assert RUNS == ["nothing"]
    assert await shop.used() == (0, 0)


async def test_a_crash_is_not_replayed(shop: Shop) -> None:
    for _ in range(2):
        reply = await shop.order("crash")
        assert reply.status_code == 500
        assert "idempotency-replayed" not in reply.headers
    assert RUNS == ["crash", "crash"]
    assert await shop.used() == (0, 0)


async def test_what_runs_still_is_refused_with_409_and_a_time(shop: Shop) -> None:
    GATES["slow"] = asyncio.Event()
    first = asyncio.create_task(shop.order("slow"))
    while not RUNS:
        await asyncio.sleep(0.005)
    early = await shop.order("slow")
    assert (early.status_code, early.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert early.headers["retry-after"] == "1"
    assert early.headers["content-type"] == "application/problem+json"
    GATES["slow"].set()
    assert (await shop.order("slow")).status_code in (200, 409)
    content = (await first).content
    assert (await shop.order("slow")).content == content
    assert RUNS == ["slow"]
    assert await shop.used() == (2, 0)


async def test_another_payload_or_another_address_is_refused_with_422(shop: Shop) -> None:
    await shop.order("tea")
    for what, path in (("milk", "/order"), ("tea", "/order?x=1")):
        reply = await shop.order(what, path=path)
        assert (reply.status_code, reply.json()["code"]) == (422, "IDEMPOTENCY_CONFLICT")
        assert "retry-after" not in reply.headers
    generic = await shop.http.post(
        "/api/v1/actions",
        json={"action": "order", "arguments": {"what": "tea"}},
        headers={"Idempotency-Key": "n1"},
    )
    assert generic.status_code == 422
    assert RUNS == ["tea"]


async def test_every_way_to_call_an_action_keeps_its_outcome(shop: Shop) -> None:
    ways = [
        ("/api/v1/actions", {"action": "order", "arguments": {"what": "tea"}}),
        ("/api/v1/actions/order", {"what": "tea"}),
        ("/api/v1/hello/echo", {"text": "tea"}),
    ]
    for number, (path, body) in enumerate(ways):
        replies = [
            await shop.http.post(path, json=body, headers={"Idempotency-Key": f"way-{number}"})
            for _ in range(2)
        ]
        assert replies[0].status_code == 200
        assert replies[0].content == replies[1].content
        assert replies[1].headers["idempotency-replayed"] == "true"
    for _ in range(2):
        read = await shop.http.get("/api/v1/hello/echo?text=a", headers={"Idempotency-Key": "read"})
    assert read.headers["idempotency-replayed"] == "true"
    assert await shop.used() == (6, 0)


async def test_the_same_name_through_graphql_is_another_request(shop: Shop) -> None:
    await shop.order("tea")
    reply = await shop.http.post(
        "/graphql", json={"query": 'mutation { order(what: "tea") }'}, headers={"Idempotency-Key": "n1"}
    )
    assert reply.status_code == 422
    assert RUNS == ["tea"]


async def test_a_reply_too_large_to_keep_is_charged_once_and_a_retry_says_so(shop: Shop) -> None:
    first = await shop.order("much")
    assert first.status_code == 200
    again = await shop.order("much")
    assert (again.status_code, again.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert "larger than" in again.json()["detail"]
    assert again.json()["originalRequestId"] == first.headers["x-request-id"]
    assert RUNS == ["much"]
    assert await shop.used() == (2, 0)


@pytest.mark.parametrize("name", ["", "x" * 300, b"a\x01b", b"\xff", "a b", ["n1", "n2"], ["n1", "n1"]])
async def test_a_value_that_is_no_name_is_refused_and_nothing_runs(shop: Shop, name: Any) -> None:
    reply = await shop.order("tea", name)
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_USER_INPUT")
    assert "Idempotency-Key" in reply.json()["detail"]
    assert RUNS == []


async def test_input_that_is_refused_may_be_corrected_under_the_same_name(shop: Shop) -> None:
    wrong = await shop.http.post("/api/v1/actions/order", json={}, headers={"Idempotency-Key": "n1"})
    assert wrong.status_code == 400
    assert (await shop.order("tea")).status_code == 200


async def test_ping_needs_no_entry(shop: Shop) -> None:
    for _ in range(2):
        reply = await shop.http.post("/api/v1/actions/ping", headers={"Idempotency-Key": "n1"})
        assert reply.status_code == 200
        assert "idempotency-replayed" not in reply.headers


async def test_the_metrics_and_the_log_see_the_code_of_the_stored_reply(shop: Shop) -> None:
    for _ in range(2):
        await shop.order("nothing")
    exposition, _ = shop.engine.metrics.render(await shop.engine.database_gauges())
    assert b'api_factory_requests_total{code="NOTHING",surface="rest"} 2.0' in exposition
    assert b"api_factory_idempotent_replays_total 1.0" in exposition


async def test_every_post_of_an_action_names_the_header_in_openapi(shop: Shop) -> None:
    document = (await shop.http.get("/api/v1/openapi.json")).json()
    reference = {"$ref": "#/components/parameters/IdempotencyKey"}
    for path, operations in document["paths"].items():
        if "post" in operations:
            assert reference in operations["post"]["parameters"], path
            assert {"409", "422"} <= operations["post"]["responses"].keys()
    assert document["components"]["parameters"]["IdempotencyKey"]["in"] == "header"
