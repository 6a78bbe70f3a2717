"""What a request brings: its body as JSON, its query as text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from pydantic_core import from_json
from starlette.requests import Request

from api_factory.errors import BodyTooSlow, RequestMalformed, UnsupportedMediaType

_MOST_PARAMETERS: Final = 100
_UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})


async def read_body(request: Request, timeout_seconds: float) -> bytes:
    """Return the body, read once. Raises `BodyTooSlow` when it does not arrive in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await request.body()
    except TimeoutError:
        raise BodyTooSlow from None


async def read_object(request: Request, timeout_seconds: float) -> Mapping[str, object]:
    """Return the JSON object in the body; an empty body is an empty object.

    Raises:
        BodyTooSlow: It does not arrive in time.
        UnsupportedMediaType: The body is not declared to be JSON in UTF-8.
        RequestMalformed: It is not JSON (RFC 8259), is nested deeper than 200, or is no object.
    """
    body = await read_body(request, timeout_seconds)
    if not body:
        return {}
    _check_media_type(request.headers.get("content-type", ""))
    try:
        parsed = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestMalformed(f"The body is not JSON: {error}.") from None
    if not isinstance(parsed, dict):
        raise RequestMalformed("The body is not a JSON object; send {…}.")
    return parsed


def read_query(request: Request) -> Mapping[str, object]:
    """Return the parameters of the query, each given once.

    Raises:
        RequestMalformed: It is not encoded as UTF-8 (RFC 3986 section 2.5), or gives a parameter twice.
    """
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise RequestMalformed("The query is not well formed; encode it as UTF-8.") from None
    parameters: dict[str, object] = dict(pairs)
    if len(parameters) < len(pairs):
        raise RequestMalformed("The query gives an argument twice; give each once.")
    return parameters


def _check_media_type(content_type: str) -> None:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    is_json = media_type == "application/json" or media_type.endswith("+json")
    charsets = {
        each.removeprefix("charset=").strip('"') for each in parameters if each.startswith("charset=")
    }
    if not is_json or not charsets <= _UTF_8:
        raise UnsupportedMediaType
