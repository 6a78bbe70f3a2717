"""`kill -9` of the store that the limits are counted in: every limit holds, and no call is refused for it."""

from __future__ import annotations

import os
import signal
import time

from tests.faults.clients import Load
from tests.faults.conftest import Rounds
from tests.faults.ground import FLEET_WORKERS, Ground, check_refusals
from tests.faults.waiting import until

LIMIT = 400
FURTHER_CALLS = 200


async def _refused(load: Load, since: float) -> None:
    await until(lambda: load.count(429, since=since) > FURTHER_CALLS, "calls are refused by the limit")


async def test_no_limit_is_exceeded_when_the_store_of_the_counters_is_killed(
    ground: Ground, rounds: Rounds
) -> None:
    """Broken by a worker that begins with a full share when it goes on alone: more than the limit."""
    for _ in rounds(1):
        customer = await ground.customer(rate=f"{LIMIT}/hour")
        async with ground.load(customer, actions=("work",)).running() as load:
            # Before any worker has granted more than its part, so that the sum cannot exceed the whole.
            await until(lambda: load.count(200) > 0, "calls are admitted")
            before = load.count(200)
            assert before < LIMIT // FLEET_WORKERS, "the machine is too fast for this test"
            for pid in [pid for server in ground.servers for pid in server.counters]:
                os.kill(pid, signal.SIGKILL)
            await _refused(load, 0.0)

            async def is_shared_again() -> bool:
                alone = [await server.metric("api_factory_limits_degraded") for server in ground.servers]
                return alone == [0, 0] and any(server.counters for server in ground.servers)

            await until(is_shared_again, "the limits are counted together again")
            since = time.monotonic()
            await _refused(load, since)
        check_refusals(load.calls, 200, 429)
        assert before < load.count(200) <= LIMIT
        await ground.account_for(customer, load.calls)
