"""GraphiQL: in development a page whose files come from here; in production nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from schema.http import GraphQLHTTP

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def test_a_browser_gets_a_page_without_inline_scripts_whose_files_are_served_here(face: Any) -> None:
    page = await face.http.get("/graphql", headers={"accept": BROWSER})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page.text)
    assert not re.search(r"https?://", page.text)
    files = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(files) == 6
    for file in files:
        found = await face.http.get(file)
        assert found.status_code == 200
        assert found.headers["content-type"].partition(";")[0] in ("text/javascript", "text/css")


@pytest.mark.parametrize(
    ("method", "name", "status"),
    [
        ("GET", "start.js", 200),
        ("HEAD", "start.js", 200),
        ("POST", "start.js", 405),
        ("GET", "VERSIONS", 404),
        ("GET", "..%2f..%2fhttp.py", 404),
    ],
)
async def test_only_the_pages_own_files_are_served(face: Any, method: str, name: str, status: int) -> None:
    reply = await face.http.request(method, f"/graphql/assets/{name}", headers={"accept": "*/*"})
    assert reply.status_code == status
    if status == 200:
        assert bool(reply.content) is (method == "GET")
    else:
        (error,) = reply.json()["errors"]
        assert error["extensions"]["code"] == {404: "NOT_FOUND", 405: "BAD_USER_INPUT"}[status]


async def test_production_has_no_page_and_no_files(face: Any, guarded: Any) -> None:
    settings = face.engine.settings.model_copy(update={"env": "production"})
    app = GraphQLHTTP(replace(face.engine, settings=settings), guarded)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as http:
        assert (await http.get("/graphql", headers={"accept": BROWSER})).status_code == 406
        assert (await http.get("/graphql/assets/start.js", headers={"accept": "*/*"})).status_code == 404
