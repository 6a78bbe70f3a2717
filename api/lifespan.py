"""The ASGI lifespan: the engine is open while requests are served, and closed after the last one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.types import Message, Receive, Send

from api_factory.errors import ApiFactoryError

LOGGER = logging.getLogger("api_factory.http")


class Opened(Protocol):
    """What is opened before the first request and closed after the last."""

    async def open(self) -> None:
        """Make it ready to serve."""

    async def close(self) -> None:
        """Write what is still in memory and let go of everything."""


class Lifespan:
    """Opens and closes the engine when the server says so.

    Guarantee: nothing is closed while a request is under way, within the grace that `drain` allows; a
    start that fails is one sentence to the server, which ends the process.
    """

    def __init__(self, engine: Opened, drain: Callable[[], Awaitable[bool]]) -> None:
        """Close only after `drain` has waited for the requests under way."""
        self._engine = engine
        self._drain = drain

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Follow one lifespan from start to end."""
        await receive()
        failure = await self._open()
        if failure is not None:
            await send({"type": "lifespan.startup.failed", "message": failure})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send(await self._close())

    async def _open(self) -> str | None:
        try:
            await self._engine.open()
        except ApiFactoryError as error:
            return error.message
        except Exception:
            LOGGER.exception("The start failed")
            return "The start failed; the log says why."
        return None

    async def _close(self) -> Message:
        if not await self._drain():
            LOGGER.warning("Requests were still under way when the grace for stopping ended")
        try:
            await self._engine.close()
        except Exception:
            LOGGER.exception("Closing failed")
            return {"type": "lifespan.shutdown.failed", "message": "Closing failed; the log says why."}
        return {"type": "lifespan.shutdown.complete"}
