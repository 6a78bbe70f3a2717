"""What is the same for everybody is read once in a while."""

from __future__ import annotations

import asyncio

import pytest

from api_factory.clock import ManualClock
from schema.remembered import Remembered


async def test_one_of_those_who_ask_at_once_reads_it() -> None:
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        return reads

    clock = ManualClock()
    remembered = Remembered(read, 1.0, clock.monotonic)
    assert await asyncio.gather(*(remembered.get() for _ in range(5))) == [1] * 5
    clock.advance(0.9)
    assert await remembered.get() == 1
    clock.advance(0.1)
    assert await remembered.get() == 2


async def test_a_failure_is_not_remembered() -> None:
    answers = iter([1])

    async def read() -> int:
        found = next(answers, None)
        if found is None:
            raise RuntimeError("away")
        return found

    clock = ManualClock()
    remembered = Remembered(read, 1.0, clock.monotonic)
    assert await remembered.get() == 1
    clock.advance(1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="away"):
            await remembered.get()
