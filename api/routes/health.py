"""Liveness and readiness, for orchestrators and load balancers."""

from __future__ import annotations

from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import api_factory
from api_factory.wiring import Check, Engine

HEALTHZ_PATH: Final = "/_api/healthz"
READYZ_PATH: Final = "/_api/readyz"
_NO_STORE: Final = {"Cache-Control": "no-store"}


class HealthRoutes:
    """`healthz` says that the process answers and touches nothing; `readyz` says that it can serve."""

    def __init__(self, engine: Engine) -> None:
        """Ask this engine; the answer of `healthz` is made once."""
        self._engine = engine
        self._alive = orjson.dumps({"status": "ok", "version": api_factory.__version__})

    def routes(self) -> list[Route]:
        """Return the two routes."""
        return [
            Route(HEALTHZ_PATH, self.healthz, methods=["GET"]),
            Route(READYZ_PATH, self.readyz, methods=["GET"]),
        ]

    async def healthz(self, request: Request) -> Response:
        """Answer 200 while the process can answer at all."""
        return Response(self._alive, headers=_NO_STORE, media_type="application/json")

    async def readyz(self, request: Request) -> Response:
        """Answer 200 when every part that serving needs is well, otherwise 503; each part is named."""
        checks = await self._engine.readiness()
        ready = all(check.ok or not check.is_required for check in checks.values())
        content = {
            "status": "ready" if ready else "unavailable",
            "checks": {name: _rendered(check) for name, check in checks.items()},
        }
        if not ready:
            request.scope["state"]["code"] = "UNAVAILABLE"
        headers = _NO_STORE if ready else {**_NO_STORE, "Retry-After": "1"}
        return Response(orjson.dumps(content), 200 if ready else 503, headers, "application/json")


def _rendered(check: Check) -> dict[str, object]:
    status = "ok" if check.ok else "unavailable" if check.is_required else "degraded"
    return {"status": status, "detail": check.detail, "ms": round(check.milliseconds, 3)}
