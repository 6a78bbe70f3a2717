"""The application behind a real server and a real socket: what no in-process client can send."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn

from api_factory.errors import ConfigurationError

TEN_MEGABYTES = 10_000_000


@contextlib.asynccontextmanager
async def serving(app: Any, http: Any = "httptools", grace_seconds: int = 5) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(
        app,
        port=0,
        http=http,
        ws="none",
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=grace_seconds,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(30):
        while not server.started:
            await asyncio.sleep(0.005)
    try:
        yield server
    finally:
        server.should_exit = True
        await task


def port_of(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


async def exchange(server: uvicorn.Server, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes, read the reply to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(30):
        reply = await reader.read()
    writer.close()
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split(" ")[1]), headers, body


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize(
    "path", ["/graphql", "/api/v1/actions", "/api/v1/actions/echo", "/api/v1/hello/echo"]
)
async def test_ten_megabytes_are_refused_with_and_without_a_declared_length(
    built: Any, http: str, path: str
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(TEN_MEGABYTES // 100_000):
            yield b"x" * 100_000

    async with (
        serving(built[0], http) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port_of(server)}") as client,
    ):
        for content in (b"x" * TEN_MEGABYTES, chunks()):
            reply = await client.post(path, content=content, headers={"Content-Type": "application/json"})
            assert reply.status_code == 413
            assert reply.json()["code"] == "BAD_USER_INPUT"
        assert (await client.get("/api/v1/hello/ping")).json()["data"] == "pong"


async def test_a_body_in_chunks_is_put_together(built: Any) -> None:
    body = b'4\r\n{"te\r\n9\r\nxt":"hi"}\r\n0\r\n\r\n'
    request = (
        b"POST /api/v1/actions/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    )
    async with serving(built[0]) as server:
        status, headers, reply = await exchange(server, request)

    assert status == 200
    assert json.loads(reply)["data"] == "hi"
    assert headers["x-request-id"] == json.loads(reply)["requestId"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/v1/hello/echo?text=%00 HTTP/1.1\r\n",
        b"GET /api/v1/hello/echo?text=%ff%fe HTTP/1.1\r\n",
        b"GET /%00 HTTP/1.1\r\n",
        b"GET /%ff HTTP/1.1\r\n",
        b"GET /api/v1/hello/ping HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n",
        b"GET /api/v1/hello/ping HTTP/1.1\r\nX-API-Key: " + b"a" * 10_000 + b"\r\n",
        b"GET /api/v1/hello/ping HTTP/1.1\r\nX-Request-Id: a\xffb\r\n",
        b"HEAD / HTTP/1.1\r\n",
        b"BREW /api/v1/hello/ping HTTP/1.1\r\n",
        b"POST /api/v1/actions HTTP/1.1\r\nContent-Length: 0\r\n",
        b"OPTIONS /graphqls HTTP/1.1\r\n",
    ],
)
async def test_odd_bytes_never_make_a_500(built: Any, head: bytes) -> None:
    async with serving(built[0]) as server:
        status, _, _ = await exchange(server, head + b"Host: x\r\nConnection: close\r\n\r\n")

    assert status < 500


async def test_a_request_under_way_is_answered_before_the_engine_closes(built: Any) -> None:
    app, engine = built
    held = asyncio.Event()
    settle = engine.guard.settle

    async def settle_late(*arguments: Any) -> None:
        await held.wait()
        await settle(*arguments)

    engine.guard.settle = settle_late
    async with serving(app) as server:
        call = asyncio.create_task(
            exchange(
                server, b"GET /api/v1/hello/echo?text=last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
        )
        while not engine.guard.asks:
            await asyncio.sleep(0.005)
        server.should_exit = True
        await asyncio.sleep(0.2)
        assert engine.events == ["open"]
        held.set()
        status, _, body = await call

    assert status == 200
    assert json.loads(body)["data"] == "last"
    assert engine.events == ["open", "close"]


async def test_a_request_longer_than_the_grace_is_told_to_come_again_and_held_units_go_back(
    built: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, engine = built
    async with serving(app, grace_seconds=0) as server:
        call = asyncio.create_task(
            exchange(server, b"POST /api/v1/actions/hang HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        )
        while not engine.guard.asks:
            await asyncio.sleep(0.005)
        server.should_exit = True
        status, headers, body = await call

    assert status == 503
    assert headers["retry-after"] == "1"
    assert json.loads(body)["code"] == "UNAVAILABLE"
    assert engine.guard.abandoned == 1
    assert engine.events == ["open", "close"]


async def test_a_client_that_hangs_up_while_it_sends_is_no_fault(
    built: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, engine = built
    async with serving(app) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(b"POST /api/v1/actions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)

    assert engine.guard.asks == []
    assert "failed" not in caplog.text


async def test_a_start_that_cannot_be_ends_the_server_with_one_sentence(
    built: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, engine = built
    engine.open_failure = ConfigurationError("API_FACTORY_PLANS_FILE: plans.toml does not exist.")
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", lifespan="on", log_config=None))
    with pytest.raises(SystemExit):
        await server.serve()

    assert not server.started
    assert "API_FACTORY_PLANS_FILE: plans.toml does not exist." in caplog.text
    assert "Traceback" not in caplog.text
