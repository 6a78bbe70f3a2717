"""From HTTP to a GraphQL request: bytes are counted, JSON is checked, nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

import orjson

from api_factory.errors import (
    BodyTooLarge,
    MethodNotAllowed,
    NotAcceptable,
    RequestMalformed,
    UnsupportedMediaType,
)
from schema.arrival import Arrivals
from schema.costs import asks_for_cost
from schema.media import GRAPHQL, JSON, names_graphql

Headers: TypeAlias = Mapping[bytes, str]

_MOST_PARAMETERS: Final = 20
_READ: Final = frozenset(
    {b"accept", b"content-encoding", b"content-length", b"content-type", b"idempotency-key"}
)
_CHARSETS: Final = frozenset({"", "charset=utf-8", 'charset="utf-8"'})


class ClientGone(Exception):
    """The client hung up before its request was whole; there is nobody to answer."""


class GraphQLRequest(NamedTuple):
    """One request: which document, its variables, which of its operations is meant, and the raw body.

    The document is the text of `query`, or one known by its id or, by Apollo's protocol, its hash; a hash
    beside a text asks the server to remember it. A dry run is priced and not executed.
    """

    query: str | None
    variables: dict[str, Any]
    operation_name: str | None
    is_get: bool
    body: bytes = b""
    document_id: str | None = None
    document_hash: str | None = None
    wants_cost: bool = False
    is_dry_run: bool = False


def headers_of(pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the header fields read here; several of one name become one list (RFC 9110, section 5.3)."""
    found: dict[bytes, str] = {}
    for name, value in pairs:
        if name not in _READ:
            continue
        text = value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


async def read_request(
    scope: Any, headers: Headers, receive: Any, max_body_bytes: int, arrivals: Arrivals
) -> GraphQLRequest:
    """Read a request by POST or GET.

    Raises:
        MethodNotAllowed: The method is another one.
        NotAcceptable: A GET does not ask for a GraphQL media type, so it may come from any web page.
        UnsupportedMediaType: The body is not said to be JSON in UTF-8.
        BodyTooSlow: The body did not arrive in time.
        BodyTooLarge: The body has more bytes than allowed; reading stops there.
        RequestMalformed: The JSON, or a member of it, is not what it must be.
        ClientGone: The client hung up.
    """
    if scope["method"] == "POST":
        _check_content(headers)
        body = await arrivals.within_time(_read_body(headers, receive, max_body_bytes))
        return _request(_loads(body, "The body"), body, is_get=False)
    if scope["method"] == "GET":
        if not names_graphql(headers.get(b"accept", "")):
            raise NotAcceptable(f"A GET must say what it accepts; send Accept: {GRAPHQL}.")
        return _request(_parameters(scope["query_string"]), b"", is_get=True)
    raise MethodNotAllowed(headers={"Allow": "GET, POST"})


def _check_content(headers: Headers) -> None:
    media, _, parameter = headers.get(b"content-type", "").lower().partition(";")
    if media.strip() != JSON or parameter.strip() not in _CHARSETS:
        raise UnsupportedMediaType
    if headers.get(b"content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Compressed bodies are not read; send the JSON as it is.")


async def _read_body(headers: Headers, receive: Any, max_body_bytes: int) -> bytes:
    declared = headers.get(b"content-length", "0")
    if declared.isdigit() and int(declared[:20]) > max_body_bytes:
        raise _too_large(max_body_bytes)
    chunks: list[bytes] = []
    left = max_body_bytes
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        left -= len(chunk)
        if left < 0:
            raise _too_large(max_body_bytes)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


def _too_large(max_body_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {max_body_bytes} bytes this server accepts; send less.")


def _loads(text: bytes | str, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RequestMalformed(f"{what} is not valid JSON in UTF-8; correct it and send it again.") from None


def _parameters(query_string: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise RequestMalformed("The query string is not well formed; encode it as UTF-8.") from None
    members: dict[str, Any] = dict(pairs)
    if len(members) < len(pairs):
        raise RequestMalformed("The query string names a parameter twice; send each once.")
    for name in ("variables", "extensions"):
        if name in members:
            members[name] = _loads(members[name], name) if members[name] else None
    # A parameter that is there and empty says as little as one that is not there.
    for name in ("operationName", "documentId"):
        members[name] = members.get(name) or None
    return members


def _request(members: Any, body: bytes, *, is_get: bool) -> GraphQLRequest:
    if isinstance(members, list):
        raise RequestMalformed("Batches are not accepted; send one operation in each request.")
    if not isinstance(members, dict):
        raise RequestMalformed("The body must be a JSON object with the member query.")
    query, name, document_id = (members.get(each) for each in ("query", "operationName", "documentId"))
    for member in ("query", "operationName", "documentId"):
        if not (members.get(member) is None or isinstance(members[member], str)):
            raise RequestMalformed(f"{member} must be a string or null.")
    for member in ("variables", "extensions"):
        if not (members.get(member) is None or isinstance(members[member], dict)):
            raise RequestMalformed(f"{member} must be a JSON object or null.")
    variables, extensions = members.get("variables") or {}, members.get("extensions")
    if not extensions:
        _check_document(query, document_id, None)
        return GraphQLRequest(query, variables, name, is_get, body, document_id)
    document_hash = _document_hash(extensions)
    _check_document(query, document_id, document_hash)
    return GraphQLRequest(
        query, variables, name, is_get, body, document_id, document_hash, *asks_for_cost(extensions)
    )


def _document_hash(extensions: Mapping[str, Any]) -> str | None:
    persisted = extensions.get("persistedQuery")
    if persisted is None:
        return None
    if isinstance(persisted, dict) and persisted.get("version") == 1:
        document_hash = persisted.get("sha256Hash")
        if isinstance(document_hash, str):
            return document_hash
    raise RequestMalformed('extensions.persistedQuery must be {"version": 1, "sha256Hash": "…"}.')


def _check_document(query: str | None, document_id: str | None, document_hash: str | None) -> None:
    if document_id is None:
        if query is None and document_hash is None:
            raise RequestMalformed("query must be a string that holds the GraphQL document.")
    elif query is not None or document_hash is not None:
        raise RequestMalformed("A documentId stands alone; leave query and persistedQuery out.")
