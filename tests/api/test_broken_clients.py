"""Clients that are slow, hang up or send anything: nothing hangs, nothing is left, nothing is a 500."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import Application, create_app
from api_factory.actions import Catalogue, action, define
from api_factory.audit import Actor
from api_factory.db import Database
from api_factory.hello import echo, ping
from api_factory.keys import NewKey
from api_factory.settings import Settings
from api_factory.wiring import Engine, build_engine
from tests.api.test_socket import exchange, port_of, serving

BY = Actor("cli", "tests")
PATIENCE_SECONDS = 30
PATHS = ["/graphql", "/api/v1/actions/echo"]


@action(kind="mutation", charge="reserve", units=3)
async def hold(seconds: float) -> str:
    """Hold units for a while."""
    await asyncio.sleep(seconds)
    return "held"


@dataclass
class Site:
    """An application over a real engine, and a key that has units."""

    app: Application
    engine: Engine
    secret: str
    account_id: Any
    port: int

    @property
    def graphql(self) -> Any:
        """The face of GraphQL."""
        return self.app._edge._app._graphql  # type: ignore[attr-defined]

    async def until_idle(self) -> None:
        """Wait until no request is under way."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.app._edge._under_way:
                await asyncio.sleep(0.01)

    async def check_nothing_is_left(self, tasks: int) -> None:
        """Assert that every count is back where it was."""
        gc.collect()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(asyncio.all_tasks()) > tasks:
                await asyncio.sleep(0.01)
        assert len(self.graphql._arrivals) == 0
        assert self.engine.db.in_use == 0
        open_reservations = "SELECT count(*) FROM reservation WHERE state = 'open'"
        assert await self.engine.db.fetchval(open_reservations) == 0
        standing = await self.engine.usage.standing(self.account_id)
        assert standing.reserved == 0
        charged = "SELECT coalesce(sum(units), 0)::bigint FROM usage_event"
        assert standing.used == await self.engine.db.fetchval(charged)
        assert standing.used % 3 == 0


@pytest.fixture
async def site(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    await database.close()
    chosen = Settings(_env_file=None, database_url=database_url, data_dir=tmp_path, body_timeout_seconds=0.4)
    engine = build_engine(chosen, catalogue=Catalogue([define(ping), define(echo), define(hold)]))
    app = create_app(engine)
    try:
        async with serving(app) as server:
            account = await engine.accounts.create(
                "a@example.test", quota_units=100_000, rate="100000/second", by=BY
            )
            issued = await engine.keys.create(account.id, NewKey(name="k", scopes=("RUN_ACTIONS",)), by=BY)
            yield Site(app, engine, issued.secret, account.id, port_of(server))
    finally:
        await database.open()


def request_of(path: str, secret: str, body: bytes, *, length: int | None = None) -> bytes:
    """Return a POST, its length as declared."""
    declared = len(body) if length is None else length
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {secret}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {declared}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("beginning", [b"", b'{"que'])
async def test_a_body_that_does_not_come_is_given_up(
    built: Any, path: str, beginning: bytes, build: Any
) -> None:
    app, engine = build(has_graphql=True, body_timeout_seconds=0.2)
    async with serving(app) as server:
        status, headers, body = await exchange(server, request_of(path, "af_test_x", beginning, length=100))
    assert (status, headers["connection"]) == (408, "close")
    told = orjson.loads(body)
    code = told["errors"][0]["extensions"]["code"] if "errors" in told else told["code"]
    assert code == "BAD_USER_INPUT"
    assert engine.guard.asks == []


async def test_a_body_that_drips_is_given_up_however_often_something_comes(build: Any) -> None:
    app, engine = build(has_graphql=True, body_timeout_seconds=0.3)
    async with serving(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(request_of("/graphql", "af_test_x", b"", length=1_000))

        async def drip() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(PATIENCE_SECONDS):
            reply = await reader.read(15)
        dripping.cancel()
        writer.close()
    assert reply == b"HTTP/1.1 408 Re"
    assert engine.guard.asks == []


async def test_bodies_that_arrive_in_time_are_not_disturbed_by_those_that_do_not(build: Any) -> None:
    app, _ = build(has_graphql=True, body_timeout_seconds=0.3)
    good = request_of("/graphql", "af_test_x", b'{"query":"{ ping }"}').replace(
        b"Host: x", b"Host: x\r\nConnection: close"
    )
    async with serving(app) as server:
        slow = [
            asyncio.create_task(exchange(server, request_of("/graphql", "af_test_x", b"{", length=50)))
            for _ in range(20)
        ]
        quick = [(await exchange(server, good))[0] for _ in range(20)]
        assert quick == [200] * 20
        assert [status for status, _, _ in await asyncio.gather(*slow)] == [408] * 20


async def test_whoever_hangs_up_at_any_moment_leaves_nothing_held(site: Site) -> None:
    drawn = random.Random(7)
    query = orjson.dumps({"query": "mutation { hold(seconds: 0.05) }"})
    bodies = [("/graphql", query), ("/api/v1/actions/hold", b'{"seconds":0.05}')]
    tasks = len(asyncio.all_tasks())

    async def break_off(path: str, body: bytes) -> None:
        whole = request_of(path, site.secret, body)
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(whole[: drawn.choice([len(whole), len(whole), drawn.randrange(len(whole))])])
        await asyncio.sleep(drawn.uniform(0, 0.08))
        writer.transport.abort()

    for _ in range(3):
        await asyncio.gather(*(break_off(*bodies[number % 2]) for number in range(40)))
    await site.until_idle()
    await site.check_nothing_is_left(tasks)


async def test_requests_and_garbage_on_one_connection_leave_nothing_held(site: Site) -> None:
    good = request_of("/graphql", site.secret, b'{"query":"mutation { hold(seconds: 0) }"}')
    tasks = len(asyncio.all_tasks())
    for garbage in (
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\n: \r\n\r\n",
        b"POST /graphql HTTP/1.1\r\n\r\n{",
        good[:40],
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(good + garbage)
        async with asyncio.timeout(PATIENCE_SECONDS):
            reply = await reader.read(12)
        assert int(reply.split()[1]) < 500
        writer.transport.abort()
    await site.until_idle()
    await site.check_nothing_is_left(tasks)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.sampled_from(
    [
        "{ ping }",
        "{",
        "",
        "query Q { ping }",
        "mutation { hold(seconds: 0) }",
        "query($a: Int) { ping }",
        "\x00",
    ]
)
EXTENSIONS = st.fixed_dictionaries(
    {},
    optional={
        "cost": st.sampled_from([True, "dryRun"]) | JSON,
        "persistedQuery": st.fixed_dictionaries(
            {"version": st.just(1) | JSON, "sha256Hash": st.text() | JSON}
        )
        | JSON,
    },
)
BODIES = (
    st.fixed_dictionaries(
        {},
        optional={
            "query": TEXTS | JSON,
            "documentId": st.sampled_from(["sha256:", "a", ""]) | JSON,
            "variables": st.dictionaries(st.sampled_from(["a", "b"]), JSON) | JSON,
            "operationName": st.sampled_from(["Q", "", "R"]) | JSON,
            "extensions": EXTENSIONS | JSON,
        },
    )
    | JSON
)
VALUES = st.sampled_from(
    [
        "",
        "*/*",
        "application/json",
        "application/graphql-response+json",
        "gzip;q=,",
        ";;q=1",
        "*;q=0.5,,",
        '"',
        "nan",
    ]
) | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        name: VALUES.map(str.strip)
        for name in (
            *("accept", "accept-encoding", "origin", "idempotency-key", "x-request-id", "x-forwarded-for"),
            *("authorization", "content-encoding", "content-type"),
        )
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(body=BODIES, headers=HEADERS, method=st.sampled_from(["POST", "POST", "POST", "GET", "OPTIONS"]))
async def test_any_members_and_headers_are_answered_below_500(
    build: Any, connect: Any, body: Any, headers: dict[str, str], method: str
) -> None:
    app, _ = build(
        [ping, echo, hold], has_graphql=True, cors_origins="*", compress_from_bytes=10, max_body_bytes=10_000
    )
    sent = {"content-type": "application/json", **headers}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    content = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS, default=str) if _fits(body) else b"{}"
    async with connect(app) as client:
        reply = await client.request(method, "/graphql", content=content, headers=httpx.Headers(raw))
    assert reply.status_code < 500, reply.text
    assert reply.headers["x-request-id"]


def _fits(body: Any) -> bool:
    try:
        orjson.dumps(body)
    except TypeError:
        return False
    return True
