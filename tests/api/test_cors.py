"""Pages of other origins: kept out unless the operator names them, and never with credentials."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.cors import EXPOSED_HEADERS, Cors
from api_factory.errors import ConfigurationError, RateLimited

APP = "https://app.example.com"
OTHER = "https://evil.example.com"
PATHS = ["/graphql", "/api/v1/actions/echo"]


def preflight(origin: str = APP, method: str = "POST") -> dict[str, str]:
    """Return the headers of a preflight."""
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type",
    }


def cors_headers(reply: httpx.Response) -> dict[str, str]:
    """Return what CORS added."""
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}


@pytest.fixture
def client(build: Any, connect: Any) -> Any:
    app, _ = build(has_graphql=True, cors_origins=f"{APP}, http://localhost:5173")
    return connect(app)


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_of_an_allowed_origin_is_answered(client: httpx.AsyncClient, path: str) -> None:
    for origin in (APP, "http://localhost:5173"):
        reply = await client.options(path, headers=preflight(origin))
        assert (reply.status_code, reply.content) == (204, b"")
        assert cors_headers(reply) == {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": (
                "Authorization, Content-Type, X-API-Key, Idempotency-Key, X-Request-Id"
            ),
            "access-control-expose-headers": EXPOSED_HEADERS,
            "access-control-max-age": "7200",
        }
        assert "Origin" in reply.headers["vary"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin", [OTHER, "null", f"{APP}:8443", f"{APP}.evil.com", "http://app.example.com"]
)
async def test_other_origins_are_told_nothing(client: httpx.AsyncClient, path: str, origin: str) -> None:
    reply = await client.options(path, headers=preflight(origin))
    assert reply.status_code == 405
    assert "POST" in reply.headers["allow"]
    assert cors_headers(reply) == {}
    assert "Origin" in reply.headers["vary"]
    call = await client.post(path, json={}, headers={"origin": origin})
    assert cors_headers(call) == {}


async def test_replies_and_refusals_can_be_read_by_the_page(build: Any, connect: Any) -> None:
    app, engine = build(has_graphql=True, cors_origins=APP)
    client = connect(app)
    headers = {"origin": APP, "x-api-key": "af_test_any"}
    for reply in (
        await client.post("/graphql", json={"query": "{ ping }"}, headers=headers),
        await client.post("/graphql", json={"query": "{"}, headers=headers),
        await client.post("/graphql", content=b"x" * 3_000, headers=headers),
        await client.post("/api/v1/actions/echo", content=b"x" * 3_000, headers=headers),
        await client.post("/api/v1/actions/crash", json={}, headers=headers),
        await client.get("/schema.graphql", headers=headers),
    ):
        assert reply.headers["access-control-allow-origin"] == APP, reply.text
        assert "access-control-allow-credentials" not in reply.headers
    engine.guard.refusal = RateLimited(
        policy="minute", limit=1, window_seconds=60, remaining=0, retry_after_seconds=7
    )
    refused = await client.post("/graphql", json={"query": "{ ping }"}, headers=headers)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    exposed = refused.headers["access-control-expose-headers"].split(", ")
    assert {"Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate", "X-Request-Id"} <= {*exposed}


async def test_all_origins_may_be_allowed(build: Any, connect: Any) -> None:
    app, _ = build(has_graphql=True, cors_origins="*")
    client = connect(app)
    assert (await client.options("/graphql", headers=preflight(OTHER))).status_code == 204
    reply = await client.post("/graphql", json={"query": "{ ping }"}, headers={"origin": OTHER})
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in reply.headers


async def test_without_the_setting_nothing_of_it_is_there(build: Any, connect: Any) -> None:
    app, _ = build(has_graphql=True)
    client = connect(app)
    for path in PATHS:
        reply = await client.options(path, headers=preflight())
        assert reply.status_code == 405
        assert cors_headers(reply) == {}
    reply = await client.post("/graphql", json={"query": "{ ping }"}, headers={"origin": APP})
    assert cors_headers(reply) == {}
    assert "Origin" not in reply.headers["vary"]


@pytest.mark.parametrize("path", ["/", "/metrics", "/webhooks/stripe", "/_api/healthz", "/docs/errors"])
async def test_what_is_not_for_clients_stays_closed(build: Any, connect: Any, path: str) -> None:
    app, _ = build(cors_origins="*")
    client = connect(app)
    assert cors_headers(await client.options(path, headers=preflight())) == {}
    assert cors_headers(await client.get(path, headers={"origin": APP})) == {}


async def test_a_plain_options_is_not_a_preflight(client: httpx.AsyncClient) -> None:
    reply = await client.options("/graphql", headers={"origin": APP})
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    "origin",
    [
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://App.example.com",
        "https://user@app.example.com",
        "https://",
        "https://app.example.com:port",
        "ftp://app.example.com",
        "null",
        "https://*.example.com",
    ],
)
def test_what_is_no_origin_stops_the_start(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="API_FACTORY_CORS_ORIGINS"):
        Cors([origin])
