"""The peers' guard lets known keys in and nobody else, so that all do the same job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.peers import guard


async def inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> guard.Guard:
    (tmp_path / "keys").write_text("one\ntwo\n")
    monkeypatch.setenv(guard.KEYS_VARIABLE, str(tmp_path / "keys"))
    return guard.Guard(inner)


async def call(app: guard.Guard, **headers: str) -> int:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://peer") as client:
        return (await client.post("/graphql", headers=headers)).status_code


async def test_a_known_key_comes_in(guarded: guard.Guard) -> None:
    assert await call(guarded, Authorization="Bearer one") == 200
    assert await call(guarded, Authorization="Bearer two") == 200


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer three"}, {"Authorization": "Basic one"}])
async def test_anybody_else_is_refused(guarded: guard.Guard, sent: dict[str, str]) -> None:
    assert await call(guarded, **sent) == 401


async def test_a_key_may_call_so_often_and_no_more(
    guarded: guard.Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CALLS_A_WINDOW", 2)
    monkeypatch.setattr(guard, "WINDOW_SECONDS", 10**9)
    assert [await call(guarded, Authorization="Bearer one") for _ in range(3)] == [200, 200, 429]
    assert await call(guarded, Authorization="Bearer two") == 200
