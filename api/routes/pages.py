"""The few pages for people: what this is, and what each error code means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

import api_factory
from api.problems import ACTION_FAILED_CODE, ACTION_FAILED_STATUS, ERRORS_PATH
from api_factory.errors import ApiFactoryError, ConfigurationError
from api_factory.settings import Settings

PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
SCHEMA_PATH: Final = "/schema.graphql"
STATIC_PATH: Final = "/static"
_HERE: Final = Path(__file__).resolve().parent.parent


class PageRoutes:
    """`/`, the errors, the schema's text and the style sheet; none of them needs a key."""

    def __init__(self, settings: Settings, sdl: str) -> None:
        """Render every page once, as none of them depends on the request."""
        templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
        )
        self._sdl = sdl
        self._places = _places(settings)
        version = api_factory.__version__
        self._index = templates.get_template("index.html").render(version=version, places=self._places)
        self._errors = templates.get_template("errors.html").render(
            version=version, errors=sorted(_refusals(), key=lambda row: (row[0], row[1]))
        )

    def routes(self) -> list[BaseRoute]:
        """Return the routes and the static files."""
        return [
            Route("/", self.index, methods=["GET"]),
            Route(ERRORS_PATH, self.errors, methods=["GET"]),
            Route(SCHEMA_PATH, self.schema, methods=["GET"]),
            Mount(STATIC_PATH, StaticFiles(directory=_HERE / "static")),
        ]

    async def index(self, request: Request) -> Response:
        """Say what this is and where to go: a page for browsers, JSON for all others."""
        if "text/html" in request.headers.get("accept", ""):
            return _page(self._index)
        content = {
            "name": "API-Factory",
            "version": api_factory.__version__,
            **{place["id"]: place["path"] for place in self._places},
        }
        return Response(orjson.dumps(content), headers={"Vary": "Accept"}, media_type="application/json")

    async def errors(self, request: Request) -> Response:
        """Explain every error code; the `type` of a problem points here."""
        return _page(self._errors)

    async def schema(self, request: Request) -> Response:
        """Return the GraphQL schema with the directives that are enforced."""
        return PlainTextResponse(self._sdl)


def _page(html: str) -> Response:
    headers = {"Content-Security-Policy": PAGE_POLICY, "Vary": "Accept"}
    return Response(html, headers=headers, media_type="text/html")


def _places(settings: Settings) -> list[dict[str, str]]:
    explorer = "" if settings.is_production else " In a browser: GraphiQL, to try it."
    rows = (
        ("graphql", "/graphql", "GraphQL", f"Every action as a typed field, over POST.{explorer}"),
        ("schema", SCHEMA_PATH, "Schema", "The same as text, with the scopes, costs and limits enforced."),
        ("actions", "/api/v1/actions", "Actions", "The catalogue, for clients without GraphQL."),
        ("openapi", "/api/v1/openapi.json", "OpenAPI", "The REST mirror in OpenAPI 3.1."),
        ("errors", ERRORS_PATH, "Errors", "Every code, its status and what to do about it."),
        ("health", "/_api/readyz", "Readiness", "Whether each part of this server can serve."),
    )
    return [{"id": name, "path": path, "title": title, "text": text} for name, path, title, text in rows]


def _refusals() -> Iterator[tuple[str, int, str]]:
    """Yield code, status and sentence of everything a client can be refused with."""
    sentence = "The action refused; its message says why, and it may have a code of its own."
    yield ACTION_FAILED_CODE, ACTION_FAILED_STATUS, sentence
    remaining: list[type[ApiFactoryError]] = ApiFactoryError.__subclasses__()
    while remaining:
        kind = remaining.pop()
        remaining += kind.__subclasses__()
        if not issubclass(kind, ConfigurationError):
            yield kind.code, kind.status, (kind.__doc__ or "").partition("\n")[0]
