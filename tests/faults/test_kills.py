"""`kill -9` of anything, at any moment: no acknowledged unit is lost and none is charged twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

from tests.faults.clients import Load, call, client
from tests.faults.conftest import Rounds
from tests.faults.ground import Customer, Ground, Outage, check_refusals, outage
from tests.faults.waiting import until

MOST_WAIT_SECONDS = 0.6


async def _random_moment(ground: Ground, load: Load) -> None:
    """Let the load run for a while, and at least until it has got answers."""
    before = load.count(200)
    await until(lambda: load.count(200) > before, "calls are answered")
    await asyncio.sleep(ground.source.uniform(0, MOST_WAIT_SECONDS))


async def _answers_everywhere(ground: Ground, load: Load) -> None:
    """Return when every server answers its clients again."""
    await ground.ready()
    before = load.count(200)
    await until(lambda: load.count(200) >= before + 32, "calls are answered again")


async def _living_holders(ground: Ground, customer: Customer) -> list[int]:
    """Return who holds units, without those killed before whose units have not gone back yet."""
    living = {pid for server in ground.servers for pid in server.workers}
    return [pid for pid in await ground.holders(customer) if pid in living]


@contextlib.asynccontextmanager
async def _units_held(ground: Ground, customer: Customer, load: Load, url: str) -> AsyncIterator[int]:
    """Have a call on a server hold units that will never be settled; yield the worker that holds them."""
    async with client() as via:
        never = str(ground.directory / "never")
        held = asyncio.create_task(call(via, url, customer.secret, "hold", gate=never))
        await until(lambda: _living_holders(ground, customer), "a call holds its units")
        yield (await _living_holders(ground, customer))[0]
        load.calls.append(await held)


@contextlib.asynccontextmanager
async def _worst_moment(ground: Ground, customer: Customer, number: int) -> AsyncIterator[None]:
    """Every other time, let commits wait meanwhile: what is answered then is answered too early."""
    if number % 2 == 0:
        yield
        return
    async with ground.locked(customer):
        await asyncio.sleep(MOST_WAIT_SECONDS)
        yield


@contextlib.asynccontextmanager
async def _broken(outages: list[Outage]) -> AsyncIterator[None]:
    async with outage() as kept:
        outages.append(kept)
        yield


async def test_no_acknowledged_unit_is_lost_when_workers_are_killed(ground: Ground, rounds: Rounds) -> None:
    """Broken by answering before `guard.settle` has returned: replies without a charge."""
    customer = await ground.customer()
    outages: list[Outage] = []
    async with ground.load(customer).running() as load:
        for number in rounds(2):
            await _random_moment(ground, load)
            url = ground.source.choice(ground.urls)
            async with (
                _units_held(ground, customer, load, url) as pid,
                _worst_moment(ground, customer, number),
                _broken(outages),
            ):
                os.kill(pid, signal.SIGKILL)
            await _answers_everywhere(ground, load)
    check_refusals(load.calls, 200, 503, None)
    assert await ground.account_for(customer, load.calls, outages) > 0


async def test_no_acknowledged_unit_is_lost_when_a_server_is_killed(ground: Ground, rounds: Rounds) -> None:
    """Broken by a reaper that gives nothing back: what the killed workers held stayed reserved."""
    customer = await ground.customer()
    outages: list[Outage] = []
    starting: list[Outage] = []
    async with ground.load(customer).running() as load:
        for _ in rounds(1):
            await _random_moment(ground, load)
            server = ground.source.choice(ground.servers)
            workers = server.workers
            async with _units_held(ground, customer, load, server.url), _broken(outages):
                server.kill()
                for pid in workers:  # the machine is gone, not only the parent
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            async with _broken(starting):
                server.launch()
                await _answers_everywhere(ground, load)
    check_refusals(load.calls, 200, 503, None, starting=starting)
    assert await ground.account_for(customer, load.calls, outages) > 0


async def test_workers_of_a_killed_server_end_by_themselves_and_lose_nothing(ground: Ground) -> None:
    """Broken by workers that do not watch their lifeline: they went on without a parent."""
    customer = await ground.customer()
    server, survivor = ground.servers
    orphans = server.workers
    async with ground.load(customer).running() as load:
        await _random_moment(ground, load)
        async with outage() as kept:
            server.kill()
            await until(lambda: not any(map(_is_alive, orphans)), "the orphans end")
        before = load.count(200)
        await until(lambda: load.count(200) > before, "the other server goes on")
        async with outage() as starting:
            server.launch()
            await _answers_everywhere(ground, load)
    assert await survivor.is_ready()
    check_refusals(load.calls, 200, 503, None, starting=[starting])
    # They end in order: what they had begun, they answered.
    assert await ground.account_for(customer, load.calls, [kept]) > 0


async def test_no_acknowledged_unit_is_lost_when_postgresql_is_killed(ground: Ground, rounds: Rounds) -> None:
    """Broken by `synchronous_commit=off` for the committer: replies whose charge had gone with the server."""
    customer = await ground.customer()
    outages: list[Outage] = []
    survivors = [server.workers for server in ground.servers]
    async with ground.load(customer).running() as load:
        for _ in rounds(2):
            await _random_moment(ground, load)
            async with _broken(outages):
                ground.postgres.kill()
            await ground.postgres.start()
            await _answers_everywhere(ground, load)
    assert [server.workers for server in ground.servers] == survivors
    check_refusals(load.calls, 200, 503)
    assert await ground.account_for(customer, load.calls, outages) > 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
