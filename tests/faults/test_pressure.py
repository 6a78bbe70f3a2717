"""A ledger that falls behind refuses what it cannot take at once, and is exact about the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.faults.clients import Call, call, client
from tests.faults.ground import Ground, check_refusals
from tests.faults.serving import Server
from tests.faults.waiting import until

QUEUE_LIMIT = 8
CALLS = 48
# One batch is under way and one queue waits behind it; neither is longer than the limit.
MOST_TAKEN = 2 * QUEUE_LIMIT


def _refused_at_once(tasks: Sequence[asyncio.Task[Call]]) -> list[Call]:
    done = [task.result() for task in tasks if task.done()]
    return [each for each in done if each.message.startswith("The ledger is behind")]


async def test_beyond_the_queue_calls_are_refused_at_once_and_the_rest_is_exact(ground: Ground) -> None:
    """Broken by a queue without an end: everybody waited for the lock, and nobody was refused."""
    customer = await ground.customer()
    server = Server.of_workers(
        ground.variables(ledger_queue_limit=QUEUE_LIMIT), ground.directory / "small-queue.log", 1
    )
    server.launch()
    try:
        await server.ready()
        async with client() as via, asyncio.TaskGroup() as group:
            first = await call(via, server.url, customer.secret)
            async with ground.locked(customer):
                tasks = [
                    group.create_task(call(via, server.url, customer.secret, ("work", "book")[number % 2]))
                    for number in range(CALLS)
                ]
                # While the lock is held, so none of these has waited for it.
                await until(
                    lambda: len(_refused_at_once(tasks)) >= CALLS - MOST_TAKEN, "the rest is refused at once"
                )
        calls = [first, *(task.result() for task in tasks)]
        check_refusals(calls, 200, 503)
        assert first.status == 200
        await ground.account_for(customer, calls)
        async with client() as via:
            assert (await call(via, server.url, customer.secret)).status == 200
    finally:
        await server.stop()
