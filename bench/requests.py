"""What is asked of every contender, and what it must answer; the same bytes for all of them.

One call is a query with three variables that gives back an object of three fields. The list is 50 items of
5 fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.peers.items import ITEMS

GRAPHQL_PATH: Final = "/graphql"
LIST_PATH: Final = "/list"
"""Where the bare application has the list; everybody else is asked for it at `GRAPHQL_PATH`."""

VARIABLES: Final[Mapping[str, Any]] = {"text": "hello", "number": 42, "tags": ["a", "b"]}
CALL_REPLY: Final[Mapping[str, Any]] = {"mirror": VARIABLES}
_LIST_REPLY: Final[Mapping[str, Any]] = {"items": ITEMS}

_CALL: Final = """\
%(kind)s Mirror($text: String!, $number: Int!, $tags: [String!]!) {
  %(field)s(text: $text, number: $number, tags: $tags) { text number tags }
}"""
_LIST: Final = "{ items(count: 50) { id name price quantity active } }"


@dataclass(frozen=True, slots=True)
class Request:
    """One POST: its path, its body, what `data` of the answer must be, and whether it carries a key."""

    path: str
    body: str
    reply: Mapping[str, Any]
    has_key: bool = True


def _graphql(document: str, reply: Mapping[str, Any], *, has_key: bool = True) -> Request:
    asked = {"query": document, "variables": VARIABLES} if "$" in document else {"query": document}
    return Request(GRAPHQL_PATH, json.dumps(asked), reply, has_key)


def _call(field: str, kind: str = "query") -> Request:
    return _graphql(_CALL % {"kind": kind, "field": field}, CALL_REPLY)


CALL: Final = _call("mirror")
FREE_CALL: Final = _call("mirror: mirrorFree")
RESERVED_CALL: Final = _call("mirror: mirrorReserved", "mutation")
PUBLIC_PING: Final = _graphql("{ ping }", {"ping": "pong"}, has_key=False)
REST_CALL: Final = Request("/api/v1/actions/mirror", json.dumps(VARIABLES), VARIABLES)
LIST: Final = _graphql(_LIST, _LIST_REPLY)
BARE_LIST: Final = Request(LIST_PATH, LIST.body, _LIST_REPLY)
