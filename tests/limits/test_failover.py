"""The store of the counters goes away and comes back: limits hold all along, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from api_factory.errors import CostLimitExceeded, RateLimited, Unavailable
from api_factory.limits import Demand, FailoverLimits, Limits, RedisBackend, StoreUnavailable, open_wire
from api_factory.limits import failover as module
from api_factory.rates import Rate
from tests.limits.conftest import Open, Proxy, Server

HOUR = Rate(100, 3_600, "hour")

Make = Callable[..., FailoverLimits]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(module, "HANDOVER_SECONDS", 0.3)


@pytest.fixture
def hour(name: str) -> Demand:
    return Demand(HOUR, "hour", name)


@pytest.fixture
async def make(server: Server) -> AsyncIterator[Make]:
    """Make the limits of one worker of two; they are closed at the end."""
    made: list[FailoverLimits] = []

    def make(url: str = server.url, **options: object) -> FailoverLimits:
        made.append(FailoverLimits(RedisBackend(open_wire(url)), **{"divisor": 2, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for limits in made:
        await limits.close()


async def taken(limits: Limits, demand: Demand, attempts: int) -> int:
    """Try so often; return how many passed."""
    passed = 0
    for _ in range(attempts):
        try:
            await limits.take([demand])
        except RateLimited:
            continue
        passed += 1
    return passed


async def becomes(limits: FailoverLimits, state: str) -> None:
    async with asyncio.timeout(30):
        while limits.state != state:
            await asyncio.sleep(0.01)


async def test_while_the_store_is_well_it_decides_for_all(make: Make, hour: Demand) -> None:
    first, second = make(), make()
    assert await taken(first, hour, 70) == 70
    assert await taken(second, hour, 70) == 30
    assert (await first.peek([hour]))[0][1:4] == (100, 3_600, 0)
    assert await first.check() == "counts for all workers"


async def test_in_an_outage_all_workers_together_grant_no_more_than_the_limit(
    make: Make, server: Server, hour: Demand
) -> None:
    server.kill()
    workers = [make(), make()]
    assert [await taken(worker, hour, 200) for worker in workers] == [50, 50]
    assert [worker.state for worker in workers] == ["alone", "alone"]
    with pytest.raises(RateLimited) as refusal:
        await workers[0].take([hour])
    assert refusal.value.extensions["limit"] == 50
    assert (await workers[0].peek([hour]))[0].remaining == 0


async def test_an_outage_in_the_middle_of_a_window_grants_only_the_rest_of_the_limit(
    make: Make, server: Server, hour: Demand
) -> None:
    workers = [make(), make()]
    before = [await taken(worker, hour, 40) for worker in workers]
    server.kill()
    after = [await taken(worker, hour, 200) for worker in workers]
    assert (before, after) == ([40, 40], [10, 10])


async def test_a_store_that_comes_and_goes_grants_nothing_more(
    make: Make, server: Server, hour: Demand
) -> None:
    workers = [make(), make()]
    total = 0
    for _ in range(3):
        server.kill()
        total += sum([await taken(worker, hour, 80) for worker in workers])
        server.start()
        for worker in workers:
            await becomes(worker, "shared")
        total += sum([await taken(worker, hour, 80) for worker in workers])
    assert total == 100


async def test_what_was_granted_in_the_outage_counts_when_the_store_is_back(
    make: Make, server: Server, hour: Demand, connect: Open
) -> None:
    first, second = make(), make()
    server.kill()
    assert [await taken(first, hour, 30), await taken(second, hour, 25)] == [30, 25]
    server.start()
    await becomes(first, "shared")
    await becomes(second, "shared")
    assert (await connect(server.url).peek_many([hour]))[0][:2] == (0, 55)
    assert await taken(first, hour, 100) == 45


async def test_counters_of_a_store_that_was_only_silent_go_on(
    make: Make, server: Server, hour: Demand, impatient: None
) -> None:
    limits = make(divisor=1)
    assert await taken(limits, hour, 60) == 60
    server.pause()
    assert await taken(limits, hour, 10) == 10
    assert limits.state == "alone"
    server.resume()
    await becomes(limits, "shared")
    # What was asked just before the silence may have been counted there and here: never too little.
    assert await taken(limits, hour, 100) in (29, 30)


async def test_while_the_others_return_a_call_must_pass_both_counts(
    make: Make, server: Server, hour: Demand, monkeypatch: pytest.MonkeyPatch, connect: Open
) -> None:
    monkeypatch.setattr(module, "HANDOVER_SECONDS", 60.0)
    limits = make()
    server.kill()
    assert await taken(limits, hour, 20) == 20
    server.start()
    await becomes(limits, "returning")
    assert await taken(limits, hour, 100) == 30  # its part, of which 20 are used
    backend = connect(server.url)
    other = Demand(HOUR, "hour", f"{hour.subject}:other")
    await backend.add_many([other.costing(95)])
    assert await taken(limits, other, 100) == 5  # what the others have left of the whole
    assert limits.state == "returning"
    with pytest.raises(StoreUnavailable, match="each worker enforces 1/2 of every limit"):
        await limits.check()


async def test_a_store_that_leaves_while_it_returns_is_left_again(
    make: Make, server: Server, hour: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANDOVER_SECONDS", 3.0)
    limits = make()
    server.kill()
    assert await taken(limits, hour, 10) == 10
    server.start()
    await becomes(limits, "returning")
    monkeypatch.setattr(module, "HANDOVER_SECONDS", 0.3)
    server.kill()
    assert await taken(limits, hour, 100) == 40
    assert limits.state == "alone"
    server.start()
    await becomes(limits, "shared")
    assert await taken(limits, hour, 100) == 50


async def test_a_silent_store_delays_one_round_of_calls_and_no_call_after_it(
    make: Make,
    server: Server,
    proxy: Proxy,
    hour: Demand,
    monkeypatch: pytest.MonkeyPatch,
    impatient: None,
) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 60.0)
    limits = make(proxy.url)
    await limits.take([hour])
    server.pause()
    proxy.writes.clear()
    await asyncio.gather(*(limits.take([hour]) for _ in range(9)))
    assert len(proxy.writes) == 1
    assert await taken(limits, hour, 100) == 40
    assert len(proxy.writes) == 1


async def test_the_store_is_probed_in_the_background_and_not_by_calls(
    make: Make, server: Server, proxy: Proxy, hour: Demand, impatient: None
) -> None:
    limits = make(proxy.url)
    server.pause()
    await limits.take([hour])
    server.resume()
    await becomes(limits, "shared")


async def test_going_and_coming_back_are_said_once_each(
    make: Make, server: Server, hour: Demand, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bool] = []
    limits = make(observe=heard.append)
    with caplog.at_level(logging.INFO, "api_factory.limits"):
        server.kill()
        await taken(limits, hour, 30)
        await limits.peek([hour])
        server.start()
        await becomes(limits, "shared")
        await taken(limits, hour, 30)
    assert heard == [True, False]
    gone, back = [record.message for record in caplog.records]
    assert gone.startswith("the store of the rate limits is away (ConnectionError: ")
    assert gone.endswith("; this worker enforces 1/2 of every limit alone")
    assert back == "the store of the rate limits is back, and counts for all workers again"


async def test_the_number_of_live_workers_may_change_in_an_outage(
    make: Make, server: Server, hour: Demand
) -> None:
    limits = make()
    server.kill()
    assert await taken(limits, hour, 200) == 50
    limits.divisor = 4
    assert await taken(limits, hour, 1) == 0
    limits.divisor = 1
    assert await taken(limits, hour, 200) == 50


async def test_a_call_that_fits_the_limit_and_not_a_part_is_told_to_come_back(
    make: Make, server: Server, hour: Demand
) -> None:
    limits = make()
    server.kill()
    with pytest.raises(Unavailable, match="more than a part \\(50\\); split it, or retry later") as refusal:
        await limits.take([hour.costing(60)])
    assert refusal.value.status == 503
    with pytest.raises(CostLimitExceeded):
        await limits.take([hour.costing(101)])
    assert await taken(limits, hour, 100) == 50


async def test_a_failed_report_is_made_again_and_in_full(make: Make, server: Server, name: str) -> None:
    limits = make(divisor=1)
    server.kill()
    many = [Demand(HOUR, "hour", f"{name}:{number}", 3) for number in range(450)]
    for demand in many:
        await limits.take([demand])
    server.start()
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 60_000)
        await asyncio.sleep(0.5)
        assert limits.state != "shared"
        client.config_set("maxmemory", "256mb")
    await becomes(limits, "shared")
    left = [(await limits.peek([demand]))[0].remaining for demand in many]
    assert max(left) <= 97


async def test_closing_ends_every_task_and_connection(server: Server, hour: Demand) -> None:
    before = asyncio.all_tasks()
    limits = FailoverLimits(RedisBackend(open_wire(server.url)))
    await limits.take([hour])
    server.kill()
    await limits.take([hour])
    assert limits.state == "alone"
    await limits.close()
    assert asyncio.all_tasks() == before


async def test_a_store_that_restarted_between_two_calls_grants_nothing_anew(
    make: Make, server: Server, hour: Demand
) -> None:
    """Broken by trusting a store over a new connection: it counted from zero, and 180 calls passed."""
    workers = [make(), make()]
    before = [await taken(worker, hour, 40) for worker in workers]
    server.kill()
    server.start()
    noticing = [await taken(worker, hour, 1) for worker in workers]
    assert "shared" not in [worker.state for worker in workers]
    for worker in workers:
        await becomes(worker, "shared")
    after = await taken(workers[0], hour, 200)
    # The calls that noticed were counted there and here: never too little.
    assert (before, noticing, after) == ([40, 40], [1, 1], 100 - 80 - 2 * 2)


async def test_a_store_that_forgot_while_nobody_called_is_told_again(
    make: Make, server: Server, hour: Demand
) -> None:
    workers = [make(), make()]
    assert [await taken(worker, hour, 40) for worker in workers] == [40, 40]
    server.kill()
    server.start()
    for worker in workers:
        with pytest.raises(StoreUnavailable):
            await worker.check()
    for worker in workers:
        await becomes(worker, "shared")
    assert await taken(workers[0], hour, 100) == 20
