"""Actions for breaking things under: quick ones, slow ones, and some that wait at a gate, a file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from api_factory import action

GATE_SECONDS = 0.02


@action(units=1)
async def work(milliseconds: int = 0) -> int:
    """Work for a while and answer; charged when it has succeeded."""
    await asyncio.sleep(milliseconds / 1000)
    return os.getpid()


@action(kind="mutation", units=2)
async def book(milliseconds: int = 0) -> int:
    """Book something; its units are set aside before."""
    await asyncio.sleep(milliseconds / 1000)
    return os.getpid()


@action(kind="mutation", units=3)
async def hold(gate: str) -> int:
    """Hold its units until the gate is opened."""
    return await _stand_at(gate)


@action(units=1)
async def linger(gate: str) -> int:
    """Linger until the gate is opened; charged after it."""
    return await _stand_at(gate)


async def _stand_at(gate: str) -> int:
    Path(f"{gate}.reached").touch()
    while not Path(gate).exists():
        await asyncio.sleep(GATE_SECONDS)
    return os.getpid()
