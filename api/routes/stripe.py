"""The door of Stripe: an event is taken in to the byte, stored once, and answered at once."""

from __future__ import annotations

from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api_factory.billing.inbox import Inbox

PATH: Final = "/webhooks/stripe"


class StripeRoutes:
    """`POST /webhooks/stripe`: whoever has no signature of Stripe gets 400, and nothing is stored."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def routes(self) -> list[BaseRoute]:
        """Return the one route."""
        return [Route(PATH, self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """Answer 200 once the event is on disk; 503 when it is not, so that Stripe delivers it again."""
        receipt = await self._inbox.receive(await request.body(), request.headers.get("stripe-signature"))
        content = {"received": True, "duplicate": not receipt.is_new}
        return Response(orjson.dumps(content), media_type="application/json")
