"""Health, metrics and the pages."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

import api_factory
from api_factory.errors import ApiFactoryError, ConfigurationError
from api_factory.wiring import Check

TOKEN = "a-token-of-more-than-16-characters"


async def test_healthz_touches_nothing(client: httpx.AsyncClient, engine: Any) -> None:
    engine.readiness = None
    reply = await client.get("/_api/healthz")

    assert reply.status_code == 200
    assert reply.json() == {"status": "ok", "version": api_factory.__version__}


async def test_readyz_names_each_part(client: httpx.AsyncClient) -> None:
    reply = await client.get("/_api/readyz")

    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json() == {
        "status": "ready",
        "checks": {
            "database": {"status": "ok", "detail": "answers", "ms": 1.235},
            "listener": {"status": "ok", "detail": "listens", "ms": 0.0},
        },
    }


async def test_readyz_is_503_when_one_part_is_away(client: httpx.AsyncClient, engine: Any) -> None:
    engine.checks["database"] = Check(False, "no answer within 2 s", 2000.0)

    reply = await client.get("/_api/readyz")

    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"
    assert reply.json()["status"] == "unavailable"
    assert reply.json()["checks"]["database"]["status"] == "unavailable"
    assert reply.json()["checks"]["listener"]["status"] == "ok"


async def test_metrics_show_what_was_counted_and_what_the_database_says(client: httpx.AsyncClient) -> None:
    await client.get("/api/v1/hello/ping")
    reply = await client.get("/metrics")

    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'api_factory_requests_total{code="OK",surface="rest"} 1.0' in reply.text
    assert 'api_factory_action_calls_total{action="ping",outcome="ok"} 1.0' in reply.text
    assert 'api_factory_keys{status="ACTIVE"} 3.0' in reply.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": b"Bearer \xff"}, 401),
        ({"X-API-Key": TOKEN}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"bearer {TOKEN} "}, 200),
    ],
)
async def test_metrics_need_their_token_when_one_is_set(
    build: Any, connect: Any, headers: dict[str, str], status: int
) -> None:
    app, _ = build(metrics_token=TOKEN)
    async with connect(app) as client:
        reply = await client.get("/metrics", headers=headers)

    assert reply.status_code == status
    if status == 401:
        assert reply.json()["code"] == "UNAUTHENTICATED"
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in reply.text


async def test_the_schema_is_plain_text(client: httpx.AsyncClient) -> None:
    reply = await client.get("/schema.graphql")

    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert "Größe" in reply.text


async def test_the_front_page_is_html_for_browsers_and_json_for_others(client: httpx.AsyncClient) -> None:
    page = await client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    plain = await client.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == plain.headers["vary"] == "Accept, Accept-Encoding"
    assert plain.json()["graphql"] == "/graphql"
    assert plain.json()["openapi"] == "/api/v1/openapi.json"


@pytest.mark.parametrize("path", ["/", "/docs/errors"])
async def test_pages_hold_no_script_and_no_style_and_every_link_answers(
    client: httpx.AsyncClient, path: str
) -> None:
    page = await client.get(path, headers={"Accept": "text/html"})

    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=", page.text)
    links = set(re.findall(r'(?:href|src)="([^"]+)"', page.text)) - {"/graphql"}
    assert {"/static/pages.css", "/static/icon.svg"} <= links
    for link in links:
        assert (await client.get(link)).status_code == 200, link


async def test_graphiql_is_only_promised_in_development(build: Any, connect: Any) -> None:
    production = {
        "env": "production",
        "metrics_token": TOKEN,
        "key_pepper": "p" * 40,
        "database_url": "postgresql://x",
    }
    for settings, promised in (({}, True), (production, False)):
        app, _ = build(**settings)
        async with connect(app) as client:
            page = await client.get("/", headers={"Accept": "text/html"})
        assert ("GraphiQL" in page.text) is promised


async def test_the_errors_page_explains_every_code_where_problems_point(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs/errors")).text
    problem = (await client.get("/nothing")).json()

    remaining = ApiFactoryError.__subclasses__()
    while remaining:
        kind = remaining.pop()
        remaining += kind.__subclasses__()
        if not issubclass(kind, ConfigurationError):
            assert page.count(f'id="{kind.code}"') == 1
    assert problem["type"] == "/docs/errors#NOT_FOUND"
    assert 'id="ACTION_FAILED"' in page
