"""From a result or a refusal to the bytes, the status and the headers of the reply."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from graphql import ExecutionResult, GraphQLError

from api_factory.actions import SERVER_CODES, ActionError
from api_factory.errors import ApiFactoryError, BadUserInput, InternalError, Unavailable
from schema.media import GRAPHQL
from schema.refusals import DocumentRefused

LOGGER = logging.getLogger("api_factory.graphql")

DOCUMENT_CODES: Final = frozenset(
    {
        "COST_LIMIT_EXCEEDED",
        "QUERY_TOO_COMPLEX",
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "OPERATION_RESOLUTION_FAILURE",
        "PERSISTED_QUERY_NOT_FOUND",
    }
)
"""Refusals of what was asked, not of who asks: 200 for a client that only reads `application/json`."""

_COMMON: Final = (
    (b"cache-control", b"no-store"),
    (b"vary", b"Accept, Authorization, X-API-Key"),
)
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS
_LONGEST_MESSAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; `code` is `OK` or the code of its first error, for the metrics and the log.

    One that `has_secret` must not be compressed.
    """

    status: int
    body: bytes
    media: str
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)
    has_secret: bool = False

    async def send(self, send: Any) -> None:
        """Send it as ASGI wants it."""
        content_type = f"{self.media}; charset=utf-8".encode()
        headers = [
            (b"content-type", content_type),
            (b"content-length", str(len(self.body)).encode()),
            *_COMMON,
            *(_header(name, value) for name, value in self.headers.items()),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@dataclass(frozen=True, slots=True)
class Written:
    """A result as bytes, before it is known whether it may leave.

    `lost` are the root keys that had to go; `is_passing` tells of an error that a retry might not meet.
    """

    body: bytes
    status: int
    code: str
    lost: frozenset[str] = frozenset()
    is_passing: bool = False


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode(), value.encode("latin-1", "replace")


def write_result(result: ExecutionResult, media: str, request_id: str) -> Written:
    """Write an executed operation; what cannot be written as JSON becomes an error in its place."""
    errors = result.errors or []
    shown = [_shown(error, request_id) for error in errors]
    status, code = _standing(result, errors, shown, media)
    is_passing = any(map(_is_passing, errors))
    try:
        return Written(_dumps(_payload(result.data, shown)), status, code, is_passing=is_passing)
    except TypeError:
        return _write_what_can_be(result.data or {}, shown, request_id)


def refuse_document(refused: DocumentRefused, media: str) -> Reply:
    """Tell what is wrong with a document or its variables, and where."""
    code = refused.kind.code
    shown = [{**_located(error), "extensions": {"code": code}} for error in refused.errors]
    return Reply(400 if media == GRAPHQL else 200, _dumps({"errors": shown}), media, code)


def refuse(error: ApiFactoryError, media: str, request_id: str) -> Reply:
    """Tell why nothing was run, or why its result may not leave."""
    if error is not (told := _told(error)) and not isinstance(error, InternalError):
        LOGGER.error("a fault of the server", exc_info=error)
    error = told
    is_lenient = error.code in DOCUMENT_CODES and media != GRAPHQL
    shown = {"message": error.message, "extensions": _facts(error, request_id)}
    headers = dict(error.headers)
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return Reply(200 if is_lenient else error.status, _dumps({"errors": [shown]}), media, error.code, headers)


def _standing(
    result: ExecutionResult, errors: Iterable[GraphQLError], shown: list[dict[str, Any]], media: str
) -> tuple[int, str]:
    if not shown:
        return 200, "OK"
    code = str(shown[0]["extensions"]["code"])
    # Authors' codes are theirs to invent; a metric counts them as one.
    code = code if code in SERVER_CODES else "ACTION_ERROR"
    if result.data is not None:
        return 200, code
    refusals = (each for each in map(_cause, errors) if isinstance(each, ApiFactoryError))
    cause = next(refusals, BadUserInput() if code == BadUserInput.code else InternalError())
    if cause.status < 500:
        return (cause.status if media == GRAPHQL else 200), code
    return cause.status, code


def _write_what_can_be(data: Mapping[str, Any], shown: list[dict[str, Any]], request_id: str) -> Written:
    # Text with lone surrogates, or an author's extensions that are no JSON: rare, so found by trying.
    kept = {key: value if _is_writable(value) else None for key, value in data.items()}
    lost = frozenset(key for key, value in kept.items() if value is None and data[key] is not None)
    for key in sorted(lost):
        LOGGER.error("the result of %s cannot be written as JSON", key)
    message = InternalError().message
    shown = [each if _is_writable(each) else {**each, "message": message, "extensions": {}} for each in shown]
    for each in shown:
        each["extensions"] = each["extensions"] or _facts(InternalError(), request_id)
    shown += [
        {"message": message, "path": [key], "extensions": _facts(InternalError(), request_id)}
        for key in sorted(lost)
    ]
    return Written(_dumps(_payload(kept, shown)), 200, "INTERNAL", lost, is_passing=True)


def _payload(data: Any, shown: list[dict[str, Any]]) -> dict[str, Any]:
    return {"errors": shown, "data": data} if shown else {"data": data}


def _shown(error: GraphQLError, request_id: str) -> dict[str, Any]:
    cause = _cause(error)
    located = _located(error)
    if isinstance(cause, ActionError):
        return {**located, "message": cause.message, "extensions": {**cause.extensions, "code": cause.code}}
    if isinstance(cause, ApiFactoryError):
        told = _told(cause)
        # One that was made of another error was logged where it was made.
        if told is not cause and cause.__cause__ is None:
            LOGGER.error("a fault of the server at %s", error.path, exc_info=cause)
        return {**located, "message": told.message, "extensions": _facts(told, request_id)}
    if isinstance(cause, GraphQLError) and cause.nodes:
        # What an argument turned out to hold once its variables were known.
        return {**located, "extensions": {"code": BadUserInput.code}}
    LOGGER.error("unexpected error at %s", error.path, exc_info=cause)
    unexpected = InternalError()
    return {**located, "message": unexpected.message, "extensions": _facts(unexpected, request_id)}


def _told(error: ApiFactoryError) -> ApiFactoryError:
    """Return a refusal as clients may read it: a fault of the server says nothing but that it is one."""
    return error if error.status < 500 or isinstance(error, Unavailable) else InternalError()


def _cause(error: GraphQLError) -> Exception:
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _is_passing(error: GraphQLError) -> bool:
    cause = _cause(error)
    if isinstance(cause, ApiFactoryError):
        return cause.status >= 500 or cause.retry_after_seconds is not None
    if isinstance(cause, GraphQLError):
        # Without nodes it is a result that does not fit its type.
        return not cause.nodes
    return not isinstance(cause, ActionError)


def _located(error: GraphQLError) -> dict[str, Any]:
    # Messages repeat what the client wrote, which can be as long as its document.
    message = error.message
    is_long = len(message) > _LONGEST_MESSAGE
    shown: dict[str, Any] = {"message": f"{message[:_LONGEST_MESSAGE]}…" if is_long else message}
    if error.locations:
        shown["locations"] = [{"line": each.line, "column": each.column} for each in error.locations]
    if error.path:
        shown["path"] = list(error.path)
    return shown


def _facts(error: ApiFactoryError, request_id: str) -> dict[str, Any]:
    facts = {**error.extensions, "code": error.code}
    if error.retry_after_seconds is not None:
        facts["retryAfter"] = error.retry_after_seconds
    if error.status >= 500:
        facts["requestId"] = request_id
    return facts


def _is_writable(value: object) -> bool:
    try:
        _dumps(value)
    except TypeError:
        return False
    return True


def _dumps(value: object) -> bytes:
    return orjson.dumps(value, default=str, option=_OPTIONS)
