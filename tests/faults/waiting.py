"""Waiting for what must come true, never for time to pass."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 60.0
START_SECONDS = 180.0  # a database and two servers of two workers, on a machine that does other work
POLL_SECONDS = 0.02


async def until(
    is_true: Callable[[], object] | Callable[[], Awaitable[object]],
    what: str,
    *,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Return when the condition holds; fail with `what` when it never does."""
    deadline = time.monotonic() + seconds
    while True:
        answer = is_true()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {what}")
        await asyncio.sleep(POLL_SECONDS)
