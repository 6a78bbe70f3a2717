"""How long a body may take to arrive: one timer for all requests, as one each would cost every request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from api_factory.errors import BodyTooSlow


class Arrivals:
    """Gives up what is not read within so many seconds."""

    def __init__(self, seconds: float) -> None:
        """Wait for nothing yet."""
        self._seconds = seconds
        # All wait equally long, so who began first is due first.
        self._due_at: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Count those that are waited for."""
        return len(self._due_at)

    async def within_time(self, reading: Awaitable[bytes]) -> bytes:
        """Return what is read. Raises `BodyTooSlow`, and `reading` is cancelled, when it takes too long."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if task is None:
            raise RuntimeError("A body is read in a task.")
        self._due_at[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._give_up, loop)
        try:
            return await reading
        except asyncio.CancelledError:
            # Somebody else's cancellation is his, also when both came at once.
            if task in self._due_at or task.uncancel():
                raise
            raise BodyTooSlow from None
        finally:
            self._due_at.pop(task, None)

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for task, due_at in list(self._due_at.items()):
            if due_at > loop.time():
                self._timer = loop.call_at(due_at, self._give_up, loop)
                return
            del self._due_at[task]
            task.cancel()
