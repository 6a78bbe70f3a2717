"""Pages of other origins in a real browser: one that the setting names may call, another may not."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.async_api import BrowserContext, Page

from tests.clients.conftest import Server, serving

CALL = """
async ([url, key]) => {
  try {
    const reply = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
      body: JSON.stringify({ query: '{ echo(text: "from another origin") }' }),
    });
    return [reply.status, await reply.json(), reply.headers.get("RateLimit-Policy")];
  } catch (error) {
    return [error.name];
  }
}
"""


class EmptyPage(BaseHTTPRequestHandler):
    """A site of one page with nothing in it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel=icon href=data:,><title>A page</title>")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def site() -> Iterator[str]:
    """Serve the page at an origin of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def allowed() -> Iterator[str]:
    with site() as origin:
        yield origin


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    with site() as origin:
        yield origin


@pytest.fixture(scope="module")
def open_server(allowed: str) -> Iterator[Server]:
    """A server that names the one origin."""
    with serving(API_FACTORY_CORS_ORIGINS=allowed) as started:
        yield started


@pytest.fixture(scope="module")
def its_key(open_server: Server) -> str:
    return open_server.key()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


async def call_from(page: Page, origin: str, server: Server, key: str) -> Any:
    await page.goto(f"{origin}/")
    return await page.evaluate(CALL, [server.graphql, key])


async def test_a_page_of_an_allowed_origin_calls_and_reads_reply_and_limits(
    page: Page, allowed: str, open_server: Server, its_key: str
) -> None:
    status, answer, policy = await call_from(page, allowed, open_server, its_key)
    assert (status, answer) == (200, {"data": {"echo": "from another origin"}})
    assert policy.startswith('"second";q=100000;w=1')


async def test_a_page_of_an_allowed_origin_reads_why_it_is_refused(
    page: Page, allowed: str, open_server: Server
) -> None:
    status, answer, _ = await call_from(page, allowed, open_server, "no key")
    assert status == 401
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["UNAUTHENTICATED"]


async def test_the_browser_keeps_a_page_of_another_origin_out_before_anything_runs(
    page: Page, other: str, open_server: Server
) -> None:
    key = open_server.key()
    assert await call_from(page, other, open_server, key) == ["TypeError"]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http:
        standing = await http.post(open_server.graphql, json={"query": "{ viewer { quota { used } } }"})
    assert standing.json() == {"data": {"viewer": {"quota": {"used": 0}}}}


async def test_without_the_setting_no_other_origin_may_call(
    page: Page, allowed: str, server: Server, key: str
) -> None:
    assert await call_from(page, allowed, server, key) == ["TypeError"]
