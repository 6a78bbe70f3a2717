from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.app import Application, application
from api_factory.errors import ConfigurationError


class Server:
    """Drives one lifespan as a server does."""

    def __init__(self, app: Application) -> None:
        self.sent: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(app({"type": "lifespan"}, self.inbox.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def say(self, kind: str) -> dict[str, Any]:
        before = len(self.sent)
        self.inbox.put_nowait({"type": f"lifespan.{kind}"})
        async with asyncio.timeout(30):
            while len(self.sent) == before:
                await asyncio.sleep(0.001)
        return self.sent[-1]


async def test_the_engine_is_open_between_start_and_stop(built: Any) -> None:
    app, engine = built
    server = Server(app)

    assert (await server.say("startup"))["type"] == "lifespan.startup.complete"
    assert engine.events == ["open"]
    assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.complete"
    assert engine.events == ["open", "close"]
    await server.task


async def test_the_engine_is_closed_after_the_requests_under_way(built: Any, connect: Any) -> None:
    app, engine = built
    server = Server(app)
    await server.say("startup")
    async with connect(app) as client:
        call = asyncio.create_task(client.post("/api/v1/actions/hang"))
        while not engine.guard.asks:
            await asyncio.sleep(0.001)
        stopping = asyncio.create_task(server.say("shutdown"))
        await asyncio.sleep(0.02)
        assert engine.events == ["open"]
        call.cancel()
        await stopping

    assert engine.events == ["open", "close"]
    assert engine.guard.abandoned == 1


async def test_closing_waits_no_longer_than_the_grace(
    build: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, engine = build(shutdown_grace_seconds=1)
    server = Server(app)
    await server.say("startup")
    async with connect(app) as client:
        call = asyncio.create_task(client.post("/api/v1/actions/hang"))
        while not engine.guard.asks:
            await asyncio.sleep(0.001)
        assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.complete"
        call.cancel()

    assert "still under way" in caplog.text


async def test_a_start_that_cannot_be_is_one_sentence(built: Any) -> None:
    app, engine = built
    engine.open_failure = ConfigurationError("API_FACTORY_PLANS_FILE: plans.toml does not exist.")

    message = await Server(app).say("startup")

    assert message == {
        "type": "lifespan.startup.failed",
        "message": "API_FACTORY_PLANS_FILE: plans.toml does not exist.",
    }


async def test_an_unknown_failure_at_start_goes_to_the_log(
    built: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, engine = built
    engine.open_failure = RuntimeError("hunter2")

    message = await Server(app).say("startup")

    assert message["type"] == "lifespan.startup.failed"
    assert "hunter2" not in message["message"]
    assert "hunter2" in caplog.text


async def test_a_failure_at_the_end_goes_to_the_log(built: Any, caplog: pytest.LogCaptureFixture) -> None:
    app, engine = built
    engine.close_failure = RuntimeError("disk")
    server = Server(app)
    await server.say("startup")

    assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.failed"
    assert "disk" in caplog.text


async def test_websockets_are_refused(built: Any) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await built[0]({"type": "websocket", "path": "/graphql"}, asyncio.Queue().get, send)

    assert sent == [{"type": "websocket.close", "code": 1000}]


def test_the_factory_ends_with_the_sentence_of_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_FACTORY_MAX_BODY_BYTES", "much")

    with pytest.raises(SystemExit, match="API_FACTORY_MAX_BODY_BYTES"):
        application()
