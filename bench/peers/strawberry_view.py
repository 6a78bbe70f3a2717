"""Strawberry's own ASGI view with the same guard: as shipped, and with its two caches of documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import strawberry
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache

from bench.peers import items as peers
from bench.peers.guard import Guard

CACHED_DOCUMENTS = 1_000


@strawberry.type
class Mirrored:
    """What was asked, given back."""

    text: str
    number: int
    tags: list[str]


@strawberry.type
class Item:
    """One item of a list."""

    id: int
    name: str
    price: float
    quantity: int
    active: bool


_ITEMS = [Item(**item) for item in peers.ITEMS]


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry.field
    async def ping(self) -> str:
        """Answer pong."""
        return "pong"

    @strawberry.field
    async def mirror(self, text: str, number: int, tags: list[str]) -> Mirrored:
        """Give back what was asked."""
        return Mirrored(text=text, number=number, tags=tags)

    @strawberry.field
    async def items(self, count: int = 50) -> list[Item]:
        """Return so many items."""
        return _ITEMS[:count]


def _view(extensions: Sequence[Callable[[], SchemaExtension]] = ()) -> Any:
    return Guard(GraphQL(strawberry.Schema(Query, extensions=list(extensions))))


app = _view()
cached_app = _view(
    [lambda: ParserCache(maxsize=CACHED_DOCUMENTS), lambda: ValidationCache(maxsize=CACHED_DOCUMENTS)]
)
