"""Which pages of other origins may call the API from a browser (Fetch standard, CORS protocol).

Credentials in the sense of CORS, cookies above all, are never allowed: a key travels in a header that the
page must know. Without a setting no header of this is sent, and a browser keeps every other origin out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from api.surfaces import FOR_CLIENTS, surface_of
from api_factory.errors import ConfigurationError

EVERY_ORIGIN: Final = "*"
ALLOWED_METHODS: Final = "GET, POST"
ALLOWED_HEADERS: Final = "Authorization, Content-Type, X-API-Key, Idempotency-Key, X-Request-Id"
EXPOSED_HEADERS: Final = (
    "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id, Idempotency-Replayed, "
    "X-Original-Request-Id"
)
MAX_AGE_SECONDS: Final = 7_200
"""How long a browser may remember a preflight; none does for longer."""

_ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_EXPOSE: Final = (b"access-control-expose-headers", EXPOSED_HEADERS.encode())
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", ALLOWED_METHODS.encode()),
    (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
    (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
)
_VARY: Final = (b"vary", b"Origin")

Headers = tuple[tuple[bytes, bytes], ...]


class Cors:
    """The origins that may call the surfaces of API clients; pages, metrics and webhooks stay closed."""

    def __init__(self, origins: Sequence[str]) -> None:
        """Allow these origins, or all by `*`. `ConfigurationError` names the one that is no origin."""
        self._allows_all = EVERY_ORIGIN in origins
        self._origins = frozenset(_checked(each).encode() for each in origins if each != EVERY_ORIGIN)

    def headers(self, scope: Scope) -> Headers:
        """Return what a reply to this request carries, refusals too, so that the page can read them."""
        if surface_of(scope["path"]) not in FOR_CLIENTS:
            return ()
        if self._allows_all:
            return ((b"access-control-allow-origin", b"*"), _EXPOSE)
        origin = _header(scope, b"origin")
        if origin not in self._origins:
            return (_VARY,)
        return ((b"access-control-allow-origin", origin), _EXPOSE, _VARY)

    def answers(self, app: ASGIApp) -> ASGIApp:
        """Return an application that answers preflights of allowed origins and leaves the rest to `app`."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if not self._is_preflight(scope):
                await app(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
            await send({"type": "http.response.body", "body": b""})

        return answer

    def _is_preflight(self, scope: Scope) -> bool:
        if scope["method"] != "OPTIONS" or not _header(scope, b"access-control-request-method"):
            return False
        if surface_of(scope["path"]) not in FOR_CLIENTS:
            return False
        return self._allows_all or _header(scope, b"origin") in self._origins


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _checked(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin):
        raise ConfigurationError(
            f"API_FACTORY_CORS_ORIGINS: {origin!r} is no origin; write it as a browser sends it, such as "
            "https://app.example.com, without a path, or * for all."
        )
    return origin
