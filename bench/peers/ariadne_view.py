"""Ariadne's own ASGI view with the same guard."""

from __future__ import annotations

from typing import Any

from ariadne import QueryType, make_executable_schema
from ariadne.asgi import GraphQL

from bench.peers.guard import Guard
from bench.peers.items import ITEMS, Item

SDL = """
type Mirrored { text: String! number: Int! tags: [String!]! }
type Item { id: Int! name: String! price: Float! quantity: Int! active: Boolean! }
type Query {
  ping: String!
  mirror(text: String!, number: Int!, tags: [String!]!): Mirrored!
  items(count: Int! = 50): [Item!]!
}
"""

query = QueryType()


@query.field("ping")
async def ping(*_: Any) -> str:
    """Answer pong."""
    return "pong"


@query.field("mirror")
async def mirror(_source: Any, _info: Any, **asked: Any) -> dict[str, Any]:
    """Give back what was asked."""
    return asked


@query.field("items")
async def items(_source: Any, _info: Any, count: int) -> list[Item]:
    """Return so many items."""
    return ITEMS[:count]


app = Guard(GraphQL(make_executable_schema(SDL, query), debug=False))
