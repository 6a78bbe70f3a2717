"""A worker that sleeps past its lease and wakes: what it held has gone back, and it cannot charge for it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.faults.clients import call, client
from tests.faults.conftest import Rounds
from tests.faults.ground import Customer, Ground
from tests.faults.waiting import until


async def test_a_worker_paused_past_its_lease_cannot_settle_what_it_held(
    ground: Ground, rounds: Rounds, tmp_path: Path
) -> None:
    """Broken by a settlement that does not look at the reservation's state: charged, though given back."""
    for number in rounds(1):
        await _paused_past_its_lease(ground, await ground.customer(quota=3), tmp_path / str(number))


async def _paused_past_its_lease(ground: Ground, customer: Customer, gate: Path) -> None:
    async with client() as via:
        held = asyncio.create_task(call(via, ground.urls[0], customer.secret, "hold", gate=str(gate)))
        await until(lambda: ground.holders(customer), "the call holds its units")
        (pid,) = await ground.holders(customer)
        assert await ground.counters(customer) == [(0, 3)]
        os.kill(pid, signal.SIGSTOP)
        try:
            await ground.nothing_held(customer)
        finally:
            gate.touch()
            os.kill(pid, signal.SIGCONT)
        answer = await held
    assert answer.status in (503, None)
    assert await ground.account_for(customer, [answer]) == 0
    await ground.ready()
    # What it held was free for others at once, and the worker itself serves on.
    async with client() as via:
        again = await call(via, ground.urls[0], customer.secret, "hold", gate=str(gate))
    assert again.status == 200
    assert await ground.account_for(customer, [answer, again]) == 3
