"""What every request goes through on its way in and out, whatever its surface.

One class and not a stack of them: each layer of wrapped `send` and `receive` costs every request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from http import HTTPStatus
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.address import TrustedProxies
from api.problems import ProblemResponse, is_unexpected
from api_factory import log
from api_factory.errors import BodyTooLarge, Unavailable
from api_factory.ids import uuid7
from api_factory.metrics import Metrics
from api_factory.settings import Settings

LOGGER = logging.getLogger("api_factory.http")

# A reply that is no page may load nothing, run nothing and be framed by nobody.
NO_CONTENT_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_POLICY_HEADER: Final = (b"content-security-policy", NO_CONTENT_POLICY.encode())

_MOST_DIGITS: Final = 20
# Not what looks like a key: a request id is logged, stored and sent back.
_REQUEST_ID: Final = re.compile(rb"(?!.*af_(live|test)_)[A-Za-z0-9_.-]{1,100}")
_SURFACES: Final = {"/graphql": "graphql", "/metrics": "metrics", "/schema.graphql": "schema"}
_SURFACE_PREFIXES: Final = (
    ("/api/", "rest"),
    ("/_api/", "health"),
    ("/graphql/", "graphql"),
    ("/webhooks/", "webhooks"),
)
_CODES: Final = {404: "NOT_FOUND", 401: "UNAUTHENTICATED", 403: "FORBIDDEN", 503: "UNAVAILABLE"}


class Edge:
    """The outermost layer: request id, client address, body bound, security headers, log, metrics, errors.

    Guarantees: every reply carries `X-Request-Id` and the security headers; every request is counted and
    logged once; no body beyond the bound is held in memory; an exception never reaches the client.
    Faces find `request_id` and `address` in `scope["state"]` and may leave their `code` there.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, settings: Settings) -> None:
        """Stand before `app`; `ConfigurationError` when a trusted proxy is no address."""
        self._app = app
        self._metrics = metrics
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._max_body_bytes = settings.max_body_bytes
        self._under_way = 0
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        started = perf_counter()
        declared_bytes = self._identify(scope)
        request_id: str = scope["state"]["request_id"]
        token = log.bind(request_id=request_id)
        reply = _Reply(send, request_id)
        # Nothing stands between this and the `finally` that takes it back: who drains would wait for ever.
        self._under_way += 1
        try:
            if declared_bytes is None:
                receive = _BoundedBody(receive, self._max_body_bytes)
            elif declared_bytes > self._max_body_bytes:
                if surface_of(scope["path"]) == "graphql":
                    # It refuses in its own form, whether the length was declared or not.
                    receive = _BoundedBody(receive, self._max_body_bytes)
                else:
                    raise _too_large(self._max_body_bytes)
            await self._app(scope, receive, reply)
        except asyncio.CancelledError:
            await _refuse(_stopping(), scope, receive, reply)
            raise
        except ClientDisconnect:
            scope["state"]["code"] = "BAD_USER_INPUT"
        except Exception as error:
            await _refuse(error, scope, receive, reply)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
            self._record(scope, reply.status, perf_counter() - started)
            log.unbind(token)

    async def drain(self, within_seconds: float) -> bool:
        """Wait until no request is under way; tell whether that came in time."""
        while self._under_way:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), within_seconds)
            except TimeoutError:
                return False
        return True

    def _identify(self, scope: Scope) -> int | None:
        """Put request id and client address into the scope; return the declared length of the body."""
        request_id = declared_bytes = None
        headers = scope["headers"]
        for name, value in headers:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                request_id = value.decode()
            elif name == b"content-length" and value.isdigit() and len(value) <= _MOST_DIGITS:
                # Python refuses to read very many digits; a body declared so is counted while it is read.
                declared_bytes = int(value)
        client = scope.get("client")
        address = self._proxies.client_address(client[0], headers) if client else ""
        if client:
            scope["client"] = (address, client[1])
        state = scope.setdefault("state", {})
        state["request_id"] = request_id or uuid7().hex
        state["address"] = address
        return declared_bytes

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path, state = scope["path"], scope["state"]
        surface = surface_of(path)
        code = state.get("code") or _code_of(status)
        self._metrics.request(surface, code, seconds)
        # The path without its query: a client may have put there what no log should hold.
        log.access(
            scope["method"], path, status, seconds, surface=surface, code=code, address=state["address"]
        )


class _Reply:
    """Sends one reply with the headers that every reply has, and remembers its status, 0 until then."""

    __slots__ = ("_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [
                *message.get("headers", ()),
                *_SECURITY_HEADERS,
                (b"x-request-id", self._request_id.encode()),
            ]
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append(_POLICY_HEADER)
            # A new message: a face may keep its own to send it again.
            message = {**message, "headers": headers}
        await self._send(message)


class _BoundedBody:
    """Counts a body of undeclared length while it is read; raises `BodyTooLarge` past the bound."""

    __slots__ = ("_left", "_max_bytes", "_receive")

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = self._left = max_bytes

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self._max_bytes)
        return message


def surface_of(path: str) -> str:
    """Name the surface that a path belongs to, a label of the metrics."""
    surface = _SURFACES.get(path)
    if surface is not None:
        return surface
    return next((name for prefix, name in _SURFACE_PREFIXES if path.startswith(prefix)), "other")


def _code_of(status: int) -> str:
    if status < HTTPStatus.BAD_REQUEST:
        return "OK"
    return _CODES.get(status, "BAD_USER_INPUT" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "INTERNAL")


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {max_bytes} bytes this server accepts; send less.")


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping; send the request again.")


async def _refuse(error: Exception, scope: Scope, receive: Receive, reply: _Reply) -> None:
    if is_unexpected(error):
        LOGGER.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
    response = ProblemResponse(error, scope)
    # Once a reply has begun nothing can replace it: left incomplete, it makes the server hang up.
    if not reply.status:
        await response(scope, receive, reply)
