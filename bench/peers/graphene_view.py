"""Graphene with the ASGI view of starlette-graphene3 and the same guard."""

from __future__ import annotations

from typing import Any

import graphene
from starlette.applications import Starlette
from starlette.routing import Route
from starlette_graphene3 import GraphQLApp

from bench.peers.guard import Guard
from bench.peers.items import ITEMS
from bench.peers.items import Item as Listed


class Mirrored(graphene.ObjectType):
    """What was asked, given back."""

    text = graphene.String(required=True)
    number = graphene.Int(required=True)
    tags = graphene.List(graphene.NonNull(graphene.String), required=True)


class Item(graphene.ObjectType):
    """One item of a list."""

    id = graphene.Int(required=True)
    name = graphene.String(required=True)
    price = graphene.Float(required=True)
    quantity = graphene.Int(required=True)
    active = graphene.Boolean(required=True)


class Query(graphene.ObjectType):
    """What can be asked."""

    ping = graphene.String(required=True)
    mirror = graphene.Field(
        Mirrored,
        required=True,
        text=graphene.String(required=True),
        number=graphene.Int(required=True),
        tags=graphene.List(graphene.NonNull(graphene.String), required=True),
    )
    items = graphene.List(graphene.NonNull(Item), required=True, count=graphene.Int(default_value=50))

    async def resolve_ping(self, _info: Any) -> str:
        """Answer pong."""
        return "pong"

    async def resolve_mirror(self, _info: Any, **asked: Any) -> dict[str, Any]:
        """Give back what was asked."""
        return asked

    async def resolve_items(self, _info: Any, count: int) -> list[Listed]:
        """Return so many items."""
        return ITEMS[:count]


_view = GraphQLApp(graphene.Schema(query=Query))
app = Guard(Starlette(routes=[Route("/graphql", _view, methods=["POST"])]))
