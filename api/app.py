"""The composition root: joins the faces into one ASGI application. Importing it does nothing."""

from __future__ import annotations

from typing import Final

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.forms import forms_of
from api.lifespan import Lifespan
from api.middleware import Edge
from api.routes.actions import ActionRoutes
from api.routes.health import HealthRoutes
from api.routes.metrics import MetricsRoutes
from api.routes.pages import PageRoutes
from api.routes.stripe import StripeRoutes
from api_factory.errors import ConfigurationError
from api_factory.settings import Settings, load_settings
from api_factory.wiring import Engine, build_engine
from schema.build import build_schema
from schema.http import GraphQLHTTP

GRAPHQL_PATH: Final = "/graphql"
BELOW_GRAPHQL: Final = "/graphql/"


def create_app(engine: Engine | None = None, settings: Settings | None = None) -> Application:
    """Return the application of this engine; without one, of a new engine from the settings.

    Nothing is connected before the lifespan starts. Raises `ConfigurationError`, of which
    `ActionDefinitionError` is one, when settings or actions keep the server from starting.
    """
    if engine is None:
        engine = build_engine(settings or load_settings())
    schema = build_schema(
        engine.catalogue,
        is_compiled=engine.settings.executor == "compiled",
        introspection=engine.settings.introspection,
    )
    return Application(engine, GraphQLHTTP(engine, schema), schema.sdl)


def application() -> Application:
    """Return the application for `uvicorn --factory api.app:application`.

    A start that cannot be is one sentence on standard error, and the end of the process.
    """
    try:
        return create_app()
    except ConfigurationError as error:
        raise SystemExit(error.message) from None


class Application:
    """One engine behind one ASGI callable: lifespan, GraphQL, and everything else."""

    def __init__(self, engine: Engine, graphql: ASGIApp, sdl: str) -> None:
        """Put the face of GraphQL and its schema's text beside the others."""
        faces = _Faces(graphql, Router(_routes(engine, sdl)))
        self._edge = Edge(faces, engine.metrics, engine.settings)
        self._lifespan = Lifespan(engine, self._drain)
        self._grace_seconds = engine.settings.shutdown_grace_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or the lifespan; WebSockets are refused."""
        if scope["type"] == "http":
            await self._edge(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _drain(self) -> bool:
        return await self._edge.drain(self._grace_seconds)


class _Faces:
    """Sends a request to its face; GraphQL stands in front, as routing costs a third of the throughput."""

    def __init__(self, graphql: ASGIApp, others: ASGIApp) -> None:
        self._graphql = graphql
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == GRAPHQL_PATH or path.startswith(BELOW_GRAPHQL):
            await self._graphql(scope, receive, send)
        else:
            # With an app in the scope the router raises what it cannot find, and does not answer itself.
            scope["app"] = self
            await self._others(scope, receive, send)


def _routes(engine: Engine, sdl: str) -> list[BaseRoute]:
    forms = forms_of(engine.catalogue)
    settings = engine.settings
    actions = ActionRoutes(
        engine.guard,
        forms,
        settings.operation_timeout_seconds,
        body_timeout_seconds=settings.body_timeout_seconds,
    )
    return [
        *actions.routes(),
        *HealthRoutes(engine).routes(),
        *MetricsRoutes(engine).routes(),
        *PageRoutes(engine.settings, sdl).routes(),
        *StripeRoutes(engine).routes(),
    ]
