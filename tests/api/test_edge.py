from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect

from api.app import create_app
from api.middleware import NO_CONTENT_POLICY, Edge
from api.surfaces import surface_of
from api_factory import log
from api_factory.clock import ManualClock
from api_factory.metrics import Metrics
from api_factory.settings import Settings

DOORS = [
    ("GET", "/"),
    ("GET", "/docs/errors"),
    ("GET", "/static/pages.css"),
    ("GET", "/schema.graphql"),
    ("GET", "/metrics"),
    ("GET", "/_api/healthz"),
    ("GET", "/_api/readyz"),
    ("GET", "/api/v1/hello/ping"),
    ("GET", "/api/v1/actions"),
    ("GET", "/api/v1/openapi.json"),
    ("POST", "/api/v1/actions/crash"),
    ("POST", "/graphql"),
    ("POST", "/graphql?fail"),
    ("GET", "/nothing/here"),
    ("DELETE", "/api/v1/actions"),
]


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_every_reply_has_the_security_headers_and_a_request_id(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    reply = await client.request(method, path)

    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cross-origin-resource-policy"] == "same-origin"
    assert len(reply.headers.get_list("content-security-policy")) == 1
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert len(reply.headers["x-request-id"]) == 32


async def test_what_is_no_page_may_load_nothing(client: httpx.AsyncClient) -> None:
    reply = await client.get("/_api/healthz")

    assert reply.headers["content-security-policy"] == NO_CONTENT_POLICY


@pytest.mark.parametrize("request_id", ["a", "0190163d-8694-739b.aea5_966c", "x" * 100])
async def test_a_sane_request_id_comes_back(client: httpx.AsyncClient, request_id: str) -> None:
    reply = await client.get("/nothing", headers={"X-Request-Id": request_id})

    assert reply.headers["x-request-id"] == request_id
    assert reply.json()["requestId"] == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 101, "a b", "a\nb", "ü", "a;b", "<script>"])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, request_id: str) -> None:
    reply = await client.get("/nothing", headers={"X-Request-Id": request_id.encode()})

    assert reply.headers["x-request-id"] != request_id
    assert len(reply.headers["x-request-id"]) == 32


@pytest.mark.parametrize("path", ["/graphql", "/api/v1/hello/echo", "/api/v1/actions"])
async def test_a_declared_body_over_the_bound_is_refused_unread(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.post(path, content=b"x" * 2_001, headers={"Content-Type": "application/json"})

    assert reply.status_code == 413
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "BAD_USER_INPUT"
    assert "2000 bytes" in reply.json()["detail"]


@pytest.mark.parametrize("path", ["/graphql", "/api/v1/hello/echo", "/api/v1/actions"])
async def test_a_body_of_undeclared_length_is_counted_while_it_is_read(
    client: httpx.AsyncClient, path: str
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 1_000_000:
            read += 1_000
            yield b"x" * 1_000

    reply = await client.post(path, content=endless(), headers={"Content-Type": "application/json"})

    assert reply.status_code == 413
    assert read == 3_000


async def test_a_body_at_the_bound_passes(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1_500
        yield b"x" * 500

    assert (await client.post("/graphql", content=b"x" * 2_000)).json() == {"length": 2_000}
    assert (await client.post("/graphql", content=chunks())).json() == {"length": 2_000}


async def test_an_unknown_error_says_its_request_id_and_nothing_else(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await client.post("/graphql?fail", headers={"X-Request-Id": "mine"})

    assert reply.status_code == 500
    assert reply.json() == {
        "type": "/docs/errors#INTERNAL",
        "title": "Internal",
        "status": 500,
        "detail": "Something went wrong here; quote the request id when you report it.",
        "instance": "/graphql",
        "code": "INTERNAL",
        "requestId": "mine",
    }
    assert "hunter2" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_reply_that_breaks_half_way_is_logged_and_not_answered_twice(
    built: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, engine = built
    sent = Sent()
    await app(scope_of("/graphql", query_string=b"half"), nothing, sent)

    assert [message["type"] for message in sent] == ["http.response.start"]
    assert "too late" in caplog.text
    assert _sample(engine.metrics, 'requests_total{code="INTERNAL",surface="graphql"}') == 1.0


async def test_every_request_is_counted_once_under_its_surface_and_code(
    client: httpx.AsyncClient, engine: Any
) -> None:
    await client.post("/graphql")
    await client.get("/api/v1/hello/ping")
    await client.get("/api/v1/hello/ping")
    await client.post("/api/v1/actions/refuse")
    await client.get("/api/v1/nothing")
    await client.get("/_api/healthz")

    counted = {
        line.split(" ")[0].removeprefix("api_factory_requests_total"): float(line.split(" ")[1])
        for line in _exposition(engine.metrics)
        if line.startswith("api_factory_requests_total")
    }
    assert counted == {
        '{code="OK",surface="graphql"}': 1.0,
        '{code="OK",surface="rest"}': 2.0,
        '{code="TEXT_REFUSED",surface="rest"}': 1.0,
        '{code="NOT_FOUND",surface="rest"}': 1.0,
        '{code="OK",surface="health"}': 1.0,
    }
    assert _sample(engine.metrics, 'request_seconds_count{surface="rest"}') == 4.0


async def test_the_access_log_has_the_facts_of_a_request_and_not_its_query(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="api_factory.access"):
        await client.get("/api/v1/hello/echo?text=private")

    (record,) = [each for each in caplog.records if each.name == "api_factory.access"]
    assert vars(record)["ms"] >= 0
    expected = {
        "method": "GET",
        "path": "/api/v1/hello/echo",
        "status": 200,
        "surface": "rest",
        "code": "OK",
        "address": "127.0.0.1",
    }
    assert expected.items() <= vars(record).items()
    assert "private" not in str(vars(record))


@pytest.mark.parametrize("path", ["/graphql", "/api/v1/hello/echo?text=private"])
async def test_the_access_line_of_a_guarded_call_names_account_and_key_and_no_secret(
    build: Any, path: str
) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(log.JsonFormatter())
    logger = logging.getLogger("api_factory.access")
    app, engine = build()
    if path == "/graphql":
        engine.clock = ManualClock()
        app = create_app(engine)
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.example.test") as client:
            headers = {"Authorization": "Bearer af_live_private", "X-Request-Id": "r1"}
            if path == "/graphql":
                await client.post(path, json={"query": '{ echo(text: "private") }'}, headers=headers)
            else:
                await client.get(path, headers=headers)
            await client.get("/_api/healthz")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)

    guarded, other = map(json.loads, written.getvalue().splitlines())
    assert (guarded["request_id"], guarded["code"]) == ("r1", "OK")
    assert (guarded["account_id"], guarded["key_id"]) == ("acc_1", "key_1")
    assert "private" not in written.getvalue()
    assert "account_id" not in other


@pytest.mark.parametrize("digits", [21, 5_000])
async def test_a_length_of_many_digits_is_counted_while_it_is_read(built: Any, digits: int) -> None:
    app, _ = built
    sent = Sent()
    headers = [(b"content-length", b"0" * (digits - 1) + b"9")]

    async def much() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 2_001}

    await app(scope_of("/graphql", query_string=b"", headers=headers), much, sent)

    assert sent[0]["status"] == 413


@pytest.mark.parametrize("broken", ["_identify", "_record"])
async def test_a_fault_of_its_own_leaves_no_request_under_way(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})

    def fail(*_: object) -> None:
        raise RuntimeError(broken)

    edge = edge_of(answer)
    monkeypatch.setattr(edge, broken, fail)
    with pytest.raises(RuntimeError, match=broken):
        await edge(scope_of(), nothing, Sent())

    assert await edge.drain(0)


async def test_a_trusted_proxy_names_the_client(build: Any, connect: Any) -> None:
    app, engine = build(trusted_proxies=("127.0.0.1",))
    async with connect(app) as client:
        await client.get("/api/v1/hello/ping", headers={"X-Forwarded-For": "198.51.100.7"})

    assert engine.guard.asks[0][0].address == "198.51.100.7"


@pytest.mark.parametrize(
    ("path", "surface"),
    [
        ("/graphql", "graphql"),
        ("/graphql/assets/graphiql.min.js", "graphql"),
        ("/graphqlx", "other"),
        ("/metrics", "metrics"),
        ("/schema.graphql", "schema"),
        ("/api/v1/openapi.json", "rest"),
        ("/_api/readyz", "health"),
        ("/", "other"),
    ],
)
def test_surfaces(path: str, surface: str) -> None:
    assert surface_of(path) == surface


def edge_of(app: Any) -> Edge:
    return Edge(app, Metrics(), Settings(_env_file=None))


def scope_of(path: str = "/x", **more: Any) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [], **more}


async def nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


class Sent(list[dict[str, Any]]):
    async def __call__(self, message: dict[str, Any]) -> None:
        self.append(message)


async def test_a_request_cut_off_at_shutdown_is_told_to_come_again() -> None:
    async def hang(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    sent = Sent()
    task = asyncio.create_task(edge_of(hang)(scope_of(), nothing, sent))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]


async def test_a_client_that_went_away_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def gone(scope: Any, receive: Any, send: Any) -> None:
        raise ClientDisconnect

    sent = Sent()
    await edge_of(gone)(scope_of(client=None), nothing, sent)

    assert sent == []
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_a_message_that_a_face_sends_again_is_left_as_it_was() -> None:
    kept = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}

    async def again(scope: Any, receive: Any, send: Any) -> None:
        await send(kept)
        await send({"type": "http.response.body"})

    await edge_of(again)(scope_of(), nothing, Sent())

    assert kept == {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (204, "OK"),
        (302, "OK"),
        (401, "UNAUTHENTICATED"),
        (404, "NOT_FOUND"),
        (418, "BAD_USER_INPUT"),
        (502, "INTERNAL"),
    ],
)
async def test_a_face_that_names_no_code_is_counted_by_its_status(status: int, code: str) -> None:
    async def face(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status})

    metrics = Metrics()
    await Edge(face, metrics, Settings(_env_file=None))(scope_of(), nothing, Sent())

    assert _sample(metrics, f'requests_total{{code="{code}",surface="other"}}') == 1.0


async def test_draining_waits_for_the_requests_under_way() -> None:
    may_end = asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        await may_end.wait()

    edge = edge_of(wait)
    assert await edge.drain(0.01)
    requests = [asyncio.create_task(edge(scope_of(), nothing, Sent())) for _ in range(2)]
    await asyncio.sleep(0)
    assert not await edge.drain(0.01)
    draining = asyncio.create_task(edge.drain(10))
    await asyncio.sleep(0)
    assert not draining.done()
    may_end.set()
    assert await draining
    assert all(request.done() for request in requests)


def _exposition(metrics: Metrics) -> list[str]:
    from api_factory.metrics import DatabaseGauges

    return metrics.render(DatabaseGauges({}, {}, None, 0))[0].decode().splitlines()


def _sample(metrics: Metrics, name: str) -> float:
    (line,) = [line for line in _exposition(metrics) if line.startswith(f"api_factory_{name} ")]
    return float(line.split(" ")[1])
