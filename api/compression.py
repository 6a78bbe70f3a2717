"""Large replies as gzip, for clients that ask for it.

A compressed reply can tell by its length whether a guess that the attacker placed in it matches a secret in
it (BREACH). That takes an attacker who makes somebody else's client send requests with that client's
credentials. A browser cannot be made to: the surfaces of API clients know no cookie, and CORS here never
allows credentials. The one reply with a secret in it is left as it is all the same, and so is everything
outside those surfaces, such as pages that a session opens.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from starlette.types import Message, Scope, Send

from api.surfaces import FOR_CLIENTS, surface_of

NO_COMPRESSION: Final = "no_compression"
"""What a face sets in `scope["state"]` when its reply holds a secret."""

LEVEL: Final = 4
"""Of gzip: on JSON the higher ones take two to four times as long and save a few hundredths more."""

THREAD_FROM_BYTES: Final = 200_000
"""A body from this size is compressed in a thread, so that it holds up no other request."""

_TYPES: Final = (
    b"application/graphql-response+json",
    b"application/json",
    b"application/problem+json",
    b"text/",
)

Headers = Sequence[tuple[bytes, bytes]]


class CompressedReply:
    """Compresses a reply of one body, at least `from_bytes` long; whatever else it is sent, it passes on."""

    __slots__ = ("_from_bytes", "_send", "_start", "_state")

    def __init__(self, send: Send, scope: Scope, from_bytes: int) -> None:
        """Send to `send`."""
        self._send = send
        self._state = scope["state"]
        self._from_bytes = from_bytes
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Hold the start of a reply that may be compressed until its body is there."""
        if message["type"] == "http.response.start" and self._may_compress(message["headers"]):
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            body = message.get("body", b"")
            if len(body) >= self._from_bytes and not message.get("more_body", False):
                body = await _compressed(body)
                start = {**start, "headers": _with_length(start["headers"], len(body))}
                message = {**message, "body": body}
            await self._send(start)
        await self._send(message)

    def _may_compress(self, headers: Headers) -> bool:
        # A reply that does not say its length is streamed; it is not held.
        length, kind = 0, b""
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"content-type":
                kind = value
            elif name == b"content-encoding":
                return False
        return (
            length >= self._from_bytes
            and kind.startswith(_TYPES)
            and not self._state.get(NO_COMPRESSION, False)
        )


def is_compressible(path: str, accept_encoding: bytes) -> bool:
    """Tell whether replies of this path may be compressed for a client that accepts these codings."""
    return prefers_gzip(accept_encoding) and surface_of(path) in FOR_CLIENTS


@lru_cache(maxsize=256)
def prefers_gzip(accept_encoding: bytes) -> bool:
    """Tell whether gzip is accepted, and not less so than the bytes as they are (RFC 9110, 12.5.3)."""
    weights: dict[str, float] = {}
    for part in accept_encoding.decode("latin-1").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weights[name] = min((_weight(each) for each in parameters if each.startswith("q=")), default=1.0)
    gzip_weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip_weight > 0 and gzip_weight >= weights.get("identity", 0.0)


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0


async def _compressed(body: bytes) -> bytes:
    if len(body) < THREAD_FROM_BYTES:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)


def _with_length(headers: Headers, length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-length", str(length).encode()), (b"content-encoding", b"gzip")]
