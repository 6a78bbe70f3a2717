"""GraphiQL in a real browser, under the page's own policy: the key box, calls with and without a key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.clients.conftest import PATIENCE_MS, Server

ECHO = '{ echo(text: "from a browser") }'


class Window:
    """GraphiQL in a window of its own, and what the browser had to say and to ask meanwhile."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        self.complaints: list[str] = []
        self.requests: list[tuple[str, str | None]] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._see)

    def _hear(self, message: Any) -> None:
        # The browser itself notes each answer of 4xx, which a refusal is.
        if (
            message.type in ("error", "warning")
            and "the server responded with a status of 4" not in message.text
        ):
            self.complaints.append(message.text)

    def _see(self, request: Any) -> None:
        self.requests.append((request.url, request.headers.get("authorization")))

    async def open(self) -> Window:
        await self.page.goto(self.server.graphql, timeout=PATIENCE_MS)
        await expect(self.page.locator(".graphiql-query-editor .CodeMirror")).to_be_visible()
        return self

    async def use_key(self, key: str) -> None:
        await self.page.get_by_label("API key").fill(key)
        await self.page.get_by_role("button", name="Use").click()

    async def run(self, document: str | None = None) -> None:
        if document is not None:
            await self.page.locator(".graphiql-query-editor .CodeMirror").click()
            await self.page.keyboard.press("Control+A")
            await self.page.keyboard.insert_text(document)
        await self.page.locator(".graphiql-execute-button").click()

    async def shows(self, text: str) -> None:
        await expect(self.page.locator(".result-window")).to_contain_text(text)

    async def stored(self, where: str) -> str:
        return json.dumps(await self.page.evaluate(f"Object.entries({where})"))


@pytest.fixture
async def window(context: BrowserContext, server: Server) -> AsyncIterator[Window]:
    opened = await Window(await context.new_page(), server).open()
    yield opened
    assert opened.complaints == []
    assert [url for url, _ in opened.requests if not url.startswith((f"{server.url}/", "data:"))] == []


async def test_ping_runs_without_a_key(window: Window) -> None:
    await window.run()
    await window.shows('"ping": "pong"')
    assert [authorization for _, authorization in window.requests if authorization] == []


async def test_a_guarded_call_is_refused_without_a_key_and_answered_with_one(
    window: Window, key: str
) -> None:
    await window.run(ECHO)
    await window.shows('"code": "UNAUTHENTICATED"')
    await window.use_key(key)
    await expect(window.page.get_by_role("status")).to_have_text("Requests carry this key.")
    await window.run(ECHO)
    await window.shows('"echo": "from a browser"')
    assert window.requests[-1] == (window.server.graphql, f"Bearer {key}")


async def test_the_schema_is_there_to_read_once_there_is_a_key(window: Window, key: str) -> None:
    await window.use_key(key)
    await window.page.get_by_label("Show Documentation Explorer").click()
    await window.page.locator(".graphiql-doc-explorer-content").get_by_role("link", name="Query").click()
    await expect(window.page.locator(".graphiql-doc-explorer-content")).to_contain_text("apiKeys")


async def test_a_key_is_kept_for_its_tab_only_and_forgotten_when_the_box_is_emptied(
    window: Window, context: BrowserContext, key: str
) -> None:
    await window.use_key(key)
    await window.run(ECHO)
    await window.shows('"echo": "from a browser"')
    assert key in await window.stored("sessionStorage")
    assert key not in await window.stored("localStorage")
    assert await context.cookies() == []
    await window.page.reload()
    await expect(window.page.get_by_label("API key")).to_have_value(key)
    other = await Window(await context.new_page(), window.server).open()
    await expect(other.page.get_by_label("API key")).to_have_value("")
    await window.use_key("")
    await window.run(ECHO)
    await window.shows('"code": "UNAUTHENTICATED"')
    assert key not in await window.stored("sessionStorage")
