"""An answer that is the same for everybody, read once for all who ask within a short time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Remembered(Generic[_T]):
    """What `read` returned at most `seconds` ago; however many ask at once, it is read by one of them."""

    def __init__(
        self, read: Callable[[], Awaitable[_T]], seconds: float, monotonic: Callable[[], float]
    ) -> None:
        """Read nothing yet; `monotonic` tells the time in seconds."""
        self._read = read
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._found: tuple[float, _T] | None = None

    async def get(self) -> _T:
        """Return it; what `read` raises is raised to this caller and not remembered."""
        async with self._lock:
            now = self._monotonic()
            if self._found is None or now - self._found[0] >= self._seconds:
                self._found = now, await self._read()
            return self._found[1]
