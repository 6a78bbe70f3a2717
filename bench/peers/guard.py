"""The guard of the Python peers: a key looked up by its SHA-256, a fixed window counted in memory.

It is the least that a guard can do, so that a peer is never slow because of it. It charges nothing and
stores nothing. The guard of the Node peers, `node/guard.js`, is the same line by line.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

KEYS_VARIABLE = "BENCH_KEYS"
WINDOW_SECONDS = 60
CALLS_A_WINDOW = 1_000_000_000


class Guard:
    """ASGI middleware: 401 for a key that is not known, 429 for one that called too often."""

    def __init__(self, app: Any) -> None:
        """Stand before `app`, with the keys of the file that `BENCH_KEYS` names, one a line."""
        self._app = app
        keys = Path(os.environ[KEYS_VARIABLE]).read_text().split()
        self._owners = {hashlib.sha256(key.encode()).digest(): owner for owner, key in enumerate(keys)}
        self._windows: dict[int, tuple[int, int]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let a request in or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        owner = self._owner(scope["headers"])
        if owner is None:
            await refuse(send, 401)
        elif not self._take(owner):
            await refuse(send, 429)
        else:
            await self._app(scope, receive, send)

    def _owner(self, headers: list[tuple[bytes, bytes]]) -> int | None:
        for name, value in headers:
            if name == b"authorization" and value.startswith(b"Bearer "):
                return self._owners.get(hashlib.sha256(value[7:]).digest())
        return None

    def _take(self, owner: int) -> bool:
        window = int(time.time()) // WINDOW_SECONDS
        counted, calls = self._windows.get(owner, (window, 0))
        calls = calls + 1 if counted == window else 1
        self._windows[owner] = (window, calls)
        return calls <= CALLS_A_WINDOW


async def refuse(send: Any, status: int) -> None:
    """Send a refusal."""
    body = b'{"errors":[{"message":"refused"}]}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
