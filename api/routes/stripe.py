"""The door of Stripe: an event is taken in to the byte, stored once, and answered at once."""

from __future__ import annotations

from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api_factory.wiring import Engine

PATH: Final = "/webhooks/stripe"


class StripeRoutes:
    """`POST /webhooks/stripe`: whoever has no signature of Stripe gets 400, and nothing is stored."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[BaseRoute]:
        """Return the one route."""
        return [Route(PATH, self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """Answer 200 once the event is on disk; 503 when it is not, so that Stripe delivers it again."""
        inbox, signature = self._engine.billing.inbox, request.headers.get("stripe-signature")
        receipt = await inbox.receive(await request.body(), signature)
        content = {"received": True, "duplicate": not receipt.is_new}
        return Response(orjson.dumps(content), media_type="application/json")
