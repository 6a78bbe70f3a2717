"""Something done again and again in the background, whose failure is logged and never ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

LOGGER = logging.getLogger("api_factory.periodic")


class Periodic:
    """Calls a coroutine function every so many seconds until it is stopped."""

    def __init__(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        """Name it for the log; the first call comes one interval after `start`."""
        self.name = name
        self._seconds = seconds
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin on the running loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """End it and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._work()
                failing = False
            except Exception:
                # Said once an outage, not once a second.
                if not failing:
                    LOGGER.warning("%s failed; it goes on trying", self.name, exc_info=True)
                failing = True
