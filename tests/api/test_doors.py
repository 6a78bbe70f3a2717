"""Every door, with the real guard on a real database: bad input and bad keys get their status and code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api_factory.actions import Catalogue, define
from api_factory.audit import Actor
from api_factory.db import Database
from api_factory.hello import echo, ping
from api_factory.keys import IssuedKey, NewKey
from api_factory.settings import Settings
from api_factory.wiring import Engine, build_engine

BY = Actor("system", "tests")
QUERY = {"query": '{ echo(text: "hi") }'}
DOORS: list[tuple[str, str, Any]] = [
    ("GET", "/api/v1/hello/echo?text=hi", None),
    ("POST", "/api/v1/hello/echo", {"text": "hi"}),
    ("POST", "/api/v1/actions/echo", {"text": "hi"}),
    ("POST", "/api/v1/actions", {"action": "echo", "arguments": {"text": "hi"}}),
    ("POST", "/graphql", QUERY),
]


@dataclass
class Server:
    """An open engine, a client of its application, and an account to make keys for."""

    engine: Engine
    client: httpx.AsyncClient
    account: Any

    async def key(self, **options: Any) -> IssuedKey:
        return await self.engine.keys.create(self.account.id, NewKey(name="test", **options), by=BY)

    async def used(self) -> int:
        return (await self.engine.usage.standing(self.account.id)).used


@pytest.fixture
async def server(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    # One process has one pool: the fixture has emptied the tables, from here on the engine has it.
    await database.close()
    settings = Settings(_env_file=None, database_url=database_url, data_dir=tmp_path, max_body_bytes=10_000)
    engine = build_engine(settings, catalogue=Catalogue([define(ping), define(echo)]))
    await engine.open()
    try:
        account = await engine.accounts.create("a@example.test", quota_units=5, rate="100/minute", by=BY)
        transport = httpx.ASGITransport(app=create_app(engine), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.example.test") as client:
            yield Server(engine, client, account)
    finally:
        await engine.close()


def code_of(reply: httpx.Response) -> str:
    content = reply.json()
    found = content["errors"][0]["extensions"]["code"] if "errors" in content else content["code"]
    return str(found)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door[1])
async def test_every_door_answers_charges_one_unit_and_shows_the_limits(
    server: Server, door: tuple[str, str, Any]
) -> None:
    method, path, content = door
    issued = await server.key()

    reply = await server.client.request(method, path, json=content, headers=bearer(issued.secret))

    assert reply.status_code == 200, reply.text
    assert "hi" in reply.text
    assert '"minute";q=100;w=60' in reply.headers["ratelimit-policy"]
    assert '"minute";r=99;t=' in reply.headers["ratelimit"]
    assert '"quota";r=4;t=' in reply.headers["ratelimit"]
    assert await server.used() == 1


async def _nothing(server: Server) -> dict[str, str]:
    return {}


async def _basic(server: Server) -> dict[str, str]:
    return {"Authorization": "Basic dXNlcjpwYXNz"}


async def _garbage(server: Server) -> dict[str, str]:
    return bearer("af_live_garbage")


async def _binary(server: Server) -> dict[str, str]:
    return {"X-API-Key": "\x01\x7f" + "z" * 5_000}


async def _other_secret(server: Server) -> dict[str, str]:
    first, second = await server.key(), await server.key()
    await server.engine.keys.revoke(second.key.id, by=BY)
    assert first.secret != second.secret
    return bearer(second.secret)


async def _revoked(server: Server) -> dict[str, str]:
    issued = await server.key()
    await server.engine.keys.revoke(issued.key.id, by=BY)
    return bearer(issued.secret)


async def _suspended(server: Server) -> dict[str, str]:
    issued = await server.key()
    await server.engine.keys.suspend(issued.key.id, by=BY)
    return bearer(issued.secret)


async def _expired(server: Server) -> dict[str, str]:
    soon = server.engine.clock.now() + timedelta(seconds=0.3)
    issued = await server.key(expires_at=soon)
    await asyncio.sleep(0.4)
    return bearer(issued.secret)


async def _suspended_account(server: Server) -> dict[str, str]:
    issued = await server.key()
    await server.engine.accounts.suspend(server.account.id, reason="unpaid", by=BY)
    return bearer(issued.secret)


async def _wrong_scope(server: Server) -> dict[str, str]:
    return bearer((await server.key(scopes=("READ_USAGE",))).secret)


async def _wrong_action(server: Server) -> dict[str, str]:
    return bearer((await server.key(allowed_actions=("ping",))).secret)


async def _wrong_network(server: Server) -> dict[str, str]:
    return bearer((await server.key(cidrs=("198.51.100.0/24",))).secret)


async def _trusted_only(server: Server) -> dict[str, str]:
    return bearer((await server.key(trusted_documents_only=True)).secret)


async def _two_keys(server: Server) -> dict[str, str]:
    return {**bearer((await server.key()).secret), "X-API-Key": (await server.key()).secret}


REFUSED: list[tuple[Callable[[Server], Awaitable[dict[str, str]]], int, str]] = [
    (_nothing, 401, "UNAUTHENTICATED"),
    (_basic, 401, "UNAUTHENTICATED"),
    (_garbage, 401, "UNAUTHENTICATED"),
    (_binary, 401, "UNAUTHENTICATED"),
    (_other_secret, 401, "UNAUTHENTICATED"),
    (_revoked, 401, "UNAUTHENTICATED"),
    (_expired, 401, "UNAUTHENTICATED"),
    (_suspended, 403, "FORBIDDEN"),
    (_suspended_account, 403, "FORBIDDEN"),
    (_wrong_scope, 403, "FORBIDDEN"),
    (_wrong_action, 403, "FORBIDDEN"),
    (_wrong_network, 403, "FORBIDDEN"),
    (_trusted_only, 403, "FORBIDDEN"),
    (_two_keys, 400, "BAD_USER_INPUT"),
]


@pytest.mark.parametrize(
    ("credentials", "status", "code"), REFUSED, ids=lambda value: getattr(value, "__name__", "")
)
async def test_a_bad_key_is_refused_alike_at_every_door_and_charged_at_none(
    server: Server, credentials: Any, status: int, code: str
) -> None:
    headers = await credentials(server)
    for method, path, content in DOORS:
        reply = await server.client.request(method, path, json=content, headers=headers)
        assert (reply.status_code, code_of(reply)) == (status, code), (path, reply.text)
        assert ("www-authenticate" in reply.headers) is (status == 401 or credentials is _wrong_scope), path
        for value in headers.values():
            assert value.removeprefix("Bearer ") not in reply.text

    assert await server.used() == 0


BODIES: list[tuple[bytes, str, int]] = [
    (b"{", "application/json", 400),
    (b"", "application/json", 400),
    (b"[1]", "application/json", 400),
    (b'"\xff"', "application/json", 400),
    (b"\x00\x00", "application/json", 400),
    (b"[" * 9_000, "application/json", 400),
    (b'{"a":' * 1_500, "application/json", 400),
    (b"{}", "application/json", 400),
    (b'{"unknown": 1}', "application/json", 400),
    (b'{"text": 1, "query": 1, "action": 1}', "application/json", 400),
    (b"text=hi", "application/x-www-form-urlencoded", 415),
    (b"{}" + b" " * 10_000, "application/json", 413),
]


@pytest.mark.parametrize(("body", "content_type", "status"), BODIES, ids=lambda value: repr(value)[:30])
async def test_a_bad_body_is_refused_at_every_door_and_charged_at_none(
    server: Server, body: bytes, content_type: str, status: int
) -> None:
    headers = {**bearer((await server.key()).secret), "Content-Type": content_type}
    for path in ("/api/v1/hello/echo", "/api/v1/actions", "/api/v1/actions/echo", "/graphql"):
        reply = await server.client.post(path, content=body, headers=headers)
        assert reply.status_code == status, (path, reply.text)
        assert code_of(reply) in {"BAD_USER_INPUT", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"}

    assert await server.used() == 0


async def test_an_exhausted_quota_is_refused_with_the_seconds_to_the_next_period(server: Server) -> None:
    headers = bearer((await server.key()).secret)
    replies = [await server.client.get("/api/v1/hello/echo?text=a", headers=headers) for _ in range(7)]

    assert [reply.status_code for reply in replies] == [200] * 5 + [429] * 2
    for reply in replies[5:]:
        assert code_of(reply) == "QUOTA_EXCEEDED"
        assert int(reply.headers["retry-after"]) == reply.json()["retryAfter"] > 0
    assert await server.used() == 5


async def test_a_rate_limit_is_refused_with_its_headers(server: Server) -> None:
    await server.engine.accounts.set_rate(server.account.id, "2/minute", reason="test", by=BY)
    headers = bearer((await server.key()).secret)
    replies = [await server.client.get("/api/v1/hello/echo?text=a", headers=headers) for _ in range(3)]

    assert [reply.status_code for reply in replies] == [200, 200, 429]
    refused = replies[2]
    assert code_of(refused) == "RATE_LIMITED"
    assert refused.json()["violated-policies"] == ["minute"]
    assert '"minute";q=2;w=60' in refused.headers["ratelimit-policy"]
    assert '"minute";r=0;t=' in refused.headers["ratelimit"]
    assert await server.used() == 2


async def test_a_nul_byte_passes_through_unchanged(server: Server) -> None:
    headers = bearer((await server.key()).secret)
    reply = await server.client.post("/api/v1/actions/echo", json={"text": "a\u0000b"}, headers=headers)

    assert reply.json()["data"] == "a\u0000b"


async def test_the_server_is_ready_and_its_metrics_agree_with_the_ledger(server: Server) -> None:
    headers = bearer((await server.key()).secret)
    await server.client.get("/api/v1/hello/echo?text=a", headers=headers)

    ready = await server.client.get("/_api/readyz")
    metrics = (await server.client.get("/metrics")).text

    assert ready.status_code == 200, ready.text
    assert ready.json()["checks"].keys() >= {"database", "migrations", "listener"}
    assert 'api_factory_units_charged_total{action="echo"} 1.0' in metrics
    assert 'api_factory_requests_total{code="OK",surface="rest"} 1.0' in metrics


async def test_the_schema_is_the_one_that_is_enforced(server: Server) -> None:
    text = (await server.client.get("/schema.graphql")).text

    assert "@requiresKey" in text
    assert "echo(" in text


async def test_graphiql_gets_its_files_from_here(server: Server) -> None:
    page = await server.client.get("/graphql", headers={"Accept": "text/html"})
    script = await server.client.get("/graphql/assets/graphiql.min.js")

    assert page.status_code == script.status_code == 200
    assert len(page.headers.get_list("content-security-policy")) == 1
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert code_of(await server.client.get("/graphql/other")) == "NOT_FOUND"
