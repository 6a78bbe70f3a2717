"""What runs in the background goes on after a failure and ends when told."""

from __future__ import annotations

import asyncio
import logging

import pytest

from api_factory.periodic import Periodic


async def test_a_failure_is_logged_once_an_outage_and_never_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls >= 6:
            enough.set()
        if calls in (2, 3, 5):
            raise ValueError(f"call {calls}")

    periodic = Periodic("test", 0.001, work)
    with caplog.at_level(logging.WARNING, "api_factory.periodic"):
        periodic.start()
        periodic.start()
        await asyncio.wait_for(enough.wait(), 10)
        await periodic.stop()
    await periodic.stop()
    assert [record.getMessage() for record in caplog.records] == ["test failed; it goes on trying"] * 2
    ended_at = calls
    await asyncio.sleep(0.02)
    assert calls == ended_at
