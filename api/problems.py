"""Refusals as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from api_factory.actions import ActionError
from api_factory.errors import (
    ApiFactoryError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    QuotaExceeded,
    RateLimited,
    RequestMalformed,
    Unavailable,
)
from api_factory.limits.headers import render_limits, render_policies
from api_factory.limits.windows import WindowStatus

MEDIA_TYPE: Final = "application/problem+json"
ERRORS_PATH: Final = "/docs/errors"
ACTION_FAILED_CODE: Final = "ACTION_FAILED"
ACTION_FAILED_STATUS: Final = 422

# RFC 9457 section 4.2.1: a code that an author made up has no page here, and the title is the status's.
_UNTYPED: Final = ("about:blank", "Unprocessable Content")

# Registered by draft-ietf-httpapi-ratelimit-headers-10, with the member "violated-policies".
QUOTA_EXCEEDED_TYPE: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
QUOTA_EXCEEDED_TITLE: Final = "Request cannot be satisfied as assigned quota has been exceeded"

_NO_STORE: Final[Mapping[str, str]] = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client is told about one refusal, apart from which request it was."""

    status: int
    code: str
    detail: str
    type: str
    title: str
    extensions: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class ProblemResponse(Response):
    """One refusal as a reply; it also tells the access log and the metrics its code."""

    media_type = MEDIA_TYPE

    def __init__(self, error: Exception, scope: Scope, headers: Mapping[str, str] | None = None) -> None:
        """Render what was raised while the request in `scope` was served; `headers` yield to its own."""
        problem = problem_of(error)
        state = scope.setdefault("state", {})
        state["code"] = problem.code
        members = members_of(problem, scope["path"], state.get("request_id"))
        body = orjson.dumps(members, default=str, option=orjson.OPT_NON_STR_KEYS)
        super().__init__(body, problem.status, {**_NO_STORE, **(headers or {}), **problem.headers})


def members_of(problem: Problem, path: str, request_id: str | None) -> dict[str, object]:
    """Return the JSON members of RFC 9457 section 3.1 and ours, for a request of this path."""
    members: dict[str, object] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": quote(path),
        "code": problem.code,
    }
    if request_id is not None:
        members["requestId"] = request_id
    # Ours come last, and none of them replaces a member.
    return {**members, **problem.extensions, **members}


def problem_of(error: Exception) -> Problem:
    """Translate anything that can be raised; what is not meant for clients says nothing of its cause."""
    if isinstance(error, ActionError):
        kind = _type_and_title(error.code) if error.code == ACTION_FAILED_CODE else _UNTYPED
        return Problem(ACTION_FAILED_STATUS, error.code, error.message, *kind, error.extensions)
    refusal = _refusal_of(error)
    if isinstance(refusal, (RateLimited, QuotaExceeded)):
        return _quota_exceeded(refusal)
    kind = _type_and_title(refusal.code)
    return Problem(
        refusal.status, refusal.code, refusal.message, *kind, _extensions_of(refusal), _headers_of(refusal)
    )


def is_unexpected(error: Exception) -> bool:
    """Tell whether an exception is a fault of this server that belongs in its log."""
    return not isinstance(error, ActionError) and isinstance(_refusal_of(error), InternalError)


def _refusal_of(error: Exception) -> ApiFactoryError:
    if isinstance(error, HTTPException):
        return _of_routing(error)
    if isinstance(error, ApiFactoryError) and (error.status < 500 or isinstance(error, Unavailable)):
        return error
    return InternalError()


def _of_routing(error: HTTPException) -> ApiFactoryError:
    if error.status_code == 404:
        return NotFound("There is nothing at this address; / says what there is.")
    if error.status_code == 405:
        return MethodNotAllowed(headers=error.headers)
    return RequestMalformed(error.detail) if error.status_code < 500 else InternalError()


def _quota_exceeded(refusal: RateLimited | QuotaExceeded) -> Problem:
    violated = refusal.extensions.get("policy", "quota")
    extensions = {**_extensions_of(refusal), "violated-policies": [violated]}
    return Problem(
        refusal.status,
        refusal.code,
        refusal.message,
        QUOTA_EXCEEDED_TYPE,
        QUOTA_EXCEEDED_TITLE,
        extensions,
        _headers_of(refusal),
    )


def _type_and_title(code: str) -> tuple[str, str]:
    return f"{ERRORS_PATH}#{code}", code.replace("_", " ").capitalize()


def _extensions_of(refusal: ApiFactoryError) -> dict[str, object]:
    if refusal.retry_after_seconds is None:
        return refusal.extensions
    return {**refusal.extensions, "retryAfter": refusal.retry_after_seconds}


def _headers_of(refusal: ApiFactoryError) -> dict[str, str]:
    headers = dict(refusal.headers)
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    if isinstance(refusal, RateLimited):
        windows = [status for status in refusal.statuses if isinstance(status, WindowStatus)]
        if windows and "RateLimit" not in headers:
            headers["RateLimit-Policy"] = render_policies(windows)
            headers["RateLimit"] = render_limits(windows)
    return headers
