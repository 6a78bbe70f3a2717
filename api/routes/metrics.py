"""What Prometheus scrapes."""

from __future__ import annotations

import asyncio
import hmac
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api_factory.errors import Unauthenticated
from api_factory.wiring import Engine

METRICS_PATH: Final = "/metrics"


class MetricsRoutes:
    """The metrics of every worker, summed; a bearer token opens them when one is set."""

    def __init__(self, engine: Engine) -> None:
        """Show this engine's metrics under its settings' token."""
        token = engine.settings.metrics_token
        self._engine = engine
        self._token = token.get_secret_value().encode() if token else None

    def routes(self) -> list[Route]:
        """Return the one route."""
        return [Route(METRICS_PATH, self.metrics, methods=["GET"])]

    async def metrics(self, request: Request) -> Response:
        """Answer with the text exposition. Raises `Unauthenticated` without the token."""
        self._check(request.headers.get("authorization", ""))
        gauges = await self._engine.database_gauges()
        # In a thread, as with several workers it reads a file of each; not in those that actions can fill.
        body, content_type = await asyncio.to_thread(self._engine.metrics.render, gauges)
        return Response(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    def _check(self, authorization: str) -> None:
        if self._token is None:
            return
        scheme, _, token = authorization.strip().partition(" ")
        presented = token.strip().encode("latin-1")
        if scheme.lower() != "bearer" or not hmac.compare_digest(presented, self._token):
            raise Unauthenticated(
                "The metrics need their token; send `Authorization: Bearer <API_FACTORY_METRICS_TOKEN>`.",
                presented=bool(authorization),
            )
