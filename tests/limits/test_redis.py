"""Counters in Redis and Valkey: the same verdicts as in memory, in one step, over any wire."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from api_factory.clock import ManualClock
from api_factory.errors import CostLimitExceeded, RateLimited
from api_factory.limits import Demand, Limits, Reading, RedisBackend, StoreUnavailable, WindowStorage
from api_factory.limits.redis import BATCH_SIZE, DECISION_SECONDS, LANES, Answer, name_of
from api_factory.limits.scripts import PEEK, TAKE, Script
from api_factory.limits.windows import units_used
from api_factory.rates import Rate
from tests.limits.conftest import Open, Proxy, Server

MINUTE = Rate(60, 60, "minute")
DAY = Rate(1_000, 86_400, "day")


class AtMoment(RedisBackend):
    """The same scripts, told the time by a key of the server instead of by its clock."""

    moment_ms = 1_800_000_000_000

    def _ask(self, script: Script, demands: Sequence[Demand]) -> asyncio.Future[Answer]:
        seconds, milliseconds = divmod(self.moment_ms, 1000)
        told = f"{{{seconds}, {milliseconds * 1000}}}"
        return super()._ask(Script(script.text.replace("redis.call('TIME')", told)), demands)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 90_000_000),
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 7)), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
# A call that is refused, or only looked at, when one window has passed: the next but one begins anew.
@example(
    steps=[(0, [(0, 0)]), (3458, [(0, 0)]), (93632, [(1, 6)]), (1054, [(0, 0), (1, 7)]), (22885, [(0, 1)])]
)
@example(
    steps=[
        (0, [(1, 0), (1, 3), (1, 7)]),
        (7_177_327, [(0, 0), (1, 4), (1, 5), (1, 3)]),
        (38_008, [(1, 1)]),
    ]
)
async def test_every_verdict_and_every_reading_is_that_of_memory(
    steps: list[tuple[int, list[tuple[int, int]]]], store_url: str, connect: Open
) -> None:
    subject, clock = f"account:{secrets.token_hex(8)}", ManualClock()
    pool = [
        Demand(Rate(7, 60, "minute"), "minute", subject),
        Demand(Rate(11, 3_601, "3601s"), "3601s", subject),
        Demand(Rate(23, 86_400, "day"), "day", f"{subject}:more", owner=subject),
    ]
    shared = AtMoment(connect(store_url)._wire)
    here, there = Limits(WindowStorage(clock=clock)), Limits(shared)
    for milliseconds, picks in steps:
        # Now and then only a few milliseconds, where a window is about to end.
        step = milliseconds if milliseconds % 3 else milliseconds % 1_000
        clock.advance(step / 1000)
        shared.moment_ms += step
        demands = [pool[index].costing(cost) for index, cost in picks]
        assert await told(there, demands) == await told(here, demands)
        assert await there.peek(demands) == await here.peek(demands)


async def told(limits: Limits, demands: Sequence[Demand]) -> object:
    try:
        return await limits.take(demands)
    except RateLimited as refusal:
        return refusal.message, refusal.extensions, refusal.statuses
    except CostLimitExceeded as refusal:
        return refusal.message


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 2**31 - 1),
    window_seconds=st.integers(60, 366 * 86_400),
    share=st.floats(0, 1),
)
async def test_the_largest_limits_are_weighed_to_the_unit(
    count: int, window_seconds: int, share: float, redis_url: str, connect: Open
) -> None:
    rate = Rate(2**31 - 1, window_seconds, "long")
    demand = Demand(rate, "long", f"account:{secrets.token_hex(8)}", count)
    backend = AtMoment(connect(redis_url)._wire)
    await backend.add_many([demand])
    backend.moment_ms += demand.window_ms + int(share * (demand.window_ms - 1))
    (reading,) = await backend.peek_many([demand])
    room = rate.limit - units_used(reading, demand.window_ms)
    passed, _ = await backend.take_many([demand.costing(room + 1)])
    assert not passed
    passed, (after,) = await backend.take_many([demand.costing(room)])
    assert passed
    assert units_used(after, demand.window_ms) == rate.limit


async def test_exactly_the_limit_passes_over_all_workers(store_url: str, connect: Open, name: str) -> None:
    workers = [Limits(connect(store_url)) for _ in range(4)]
    demands = [Demand(MINUTE, "minute", name), Demand(DAY, "day", name)]

    async def passes(limits: Limits) -> bool:
        try:
            await limits.take(demands)
        except RateLimited:
            return False
        return True

    verdicts = await asyncio.gather(*(passes(workers[index % 4]) for index in range(400)))
    assert sum(verdicts) == 60
    assert (await workers[0].peek(demands))[1].remaining == 1_000 - 60


async def test_a_refused_call_consumes_nothing_anywhere(store_url: str, connect: Open, name: str) -> None:
    limits = Limits(connect(store_url))
    minute, day = Demand(MINUTE, "minute", name), Demand(DAY, "day", name)
    await limits.take([minute.costing(60)])
    for order in ([minute, day], [day, minute]):
        with pytest.raises(RateLimited) as refusal:
            await limits.take(order)
        assert refusal.value.extensions["policy"] == "minute"
    assert (await limits.peek([day]))[0].remaining == 1_000
    with redis.Redis.from_url(store_url) as client:
        assert not client.exists(name_of(day))


async def test_what_is_told_are_the_numbers_of_the_headers(store_url: str, connect: Open, name: str) -> None:
    limits = Limits(connect(store_url))
    (status,) = await limits.take([Demand(MINUTE, "minute", name, 59)])
    assert (status.policy, status.limit, status.window_seconds, status.remaining) == ("minute", 60, 60, 1)
    assert status.reset_seconds == 60
    (status,) = await limits.take([Demand(MINUTE, "minute", name)])
    assert (status.remaining, status.reset_seconds) == (0, 60)


async def test_every_counter_expires_by_itself(store_url: str, connect: Open, name: str) -> None:
    demand = Demand(MINUTE, "minute", name)
    await connect(store_url).take_many([demand])
    with redis.Redis.from_url(store_url) as client:
        assert 60_000 < client.pttl(name_of(demand)) <= 120_000


async def test_peeking_writes_nothing(store_url: str, connect: Open, name: str) -> None:
    demand = Demand(MINUTE, "minute", name)
    assert await connect(store_url).peek_many([demand]) == [(0, 0, 1)]
    with redis.Redis.from_url(store_url) as client:
        assert not client.exists(name_of(demand))


async def test_a_clock_set_back_gives_out_no_fresh_window(store_url: str, connect: Open, name: str) -> None:
    backend = AtMoment(connect(store_url)._wire)
    demand = Demand(MINUTE, "minute", name, 60)
    assert (await backend.take_many([demand]))[0]
    backend.moment_ms -= 3_600_000
    passed, readings = await backend.take_many([demand.costing(1)])
    assert (passed, readings) == (False, [(0, 60, 1)])


async def test_a_call_without_limits_asks_nobody(connect: Open) -> None:
    assert await connect("redis://192.0.2.1:1").take_many([]) == (True, [])


async def test_all_checks_of_one_turn_of_the_loop_are_one_write(
    proxy: Proxy, connect: Open, name: str
) -> None:
    backend = connect(proxy.url)
    demands = [Demand(DAY, "day", name), Demand(MINUTE, "minute", name)]
    await backend.take_many(demands)
    proxy.writes.clear()
    answers = await asyncio.gather(*(backend.take_many(demands) for _ in range(50)))
    assert [current for _, ((_, current, _), _) in answers] == list(range(2, 52))
    assert len(proxy.writes) == 1
    assert proxy.writes[0].count(b"EVALSHA") == 50
    assert proxy.connections == 1


async def test_connections_are_bounded_however_many_call(proxy: Proxy, connect: Open, name: str) -> None:
    backend = connect(proxy.url)
    demand = Demand(Rate(100_000, 60, "minute"), "minute", name)
    await asyncio.gather(*(backend.take_many([demand]) for _ in range(BATCH_SIZE * LANES * 2)))
    assert proxy.connections <= LANES
    assert (await backend.peek_many([demand]))[0][1] == BATCH_SIZE * LANES * 2


async def test_a_server_that_forgot_its_scripts_is_told_them_again(
    server: Server, connect: Open, name: str
) -> None:
    backend = connect(server.url)
    demand = Demand(MINUTE, "minute", name)
    await backend.take_many([demand])
    with server.client() as client:
        client.script_flush()
        answers = await asyncio.gather(*(backend.take_many([demand]) for _ in range(5)))
        assert sorted(current for _, ((_, current, _),) in answers) == [2, 3, 4, 5, 6]
        assert client.script_exists(TAKE.sha, PEEK.sha) == [True, False]


async def test_a_restart_between_two_calls_is_no_outage(server: Server, connect: Open, name: str) -> None:
    backend = connect(server.url)
    demand = Demand(MINUTE, "minute", name)
    await asyncio.gather(*(backend.take_many([demand]) for _ in range(3)))
    server.kill()
    server.start()
    assert (await backend.take_many([demand]))[0]


async def test_a_connection_closed_while_idle_is_no_outage(server: Server, connect: Open, name: str) -> None:
    backend = connect(server.url)
    demand = Demand(MINUTE, "minute", name)
    await backend.take_many([demand])
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert await backend.take_many([demand]) == (True, [(0, 2, pytest.approx(60_000, abs=60_000))])


async def test_a_silent_server_is_given_up_for_all_who_wait(
    server: Server, connect: Open, name: str, impatient: None
) -> None:
    assert DECISION_SECONDS < 0.5
    backend = connect(server.url)
    demand = Demand(MINUTE, "minute", name)
    await backend.take_many([demand])
    server.pause()
    many = [backend.take_many([demand]) for _ in range(BATCH_SIZE * LANES * 4)]
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*many, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    server.resume()
    # A late answer to an earlier question is never taken for that to a later one.
    other = Demand(DAY, "day", f"{name}:other")
    assert (await backend.take_many([other, other]))[1][0][:2] == (0, 1)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1", "unix:///nowhere.sock", "redis+cluster://127.0.0.1:1"]
)
async def test_a_store_that_is_not_there_is_said(url: str, connect: Open, name: str) -> None:
    with pytest.raises(StoreUnavailable) as refusal:
        await connect(url).take_many([Demand(MINUTE, "minute", name)])
    assert refusal.value.status == 503
    assert refusal.value.reason != ""


async def test_a_full_store_refuses_and_forgets_nothing(server: Server, connect: Open, name: str) -> None:
    backend = connect(server.url)
    demand = Demand(MINUTE, "minute", name, 60)
    await backend.take_many([demand])
    with server.client() as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await backend.take_many([demand.costing(0), Demand(DAY, "day", name)])
        client.config_set("maxmemory", "256mb")
    assert (await backend.peek_many([demand, Demand(DAY, "day", name)]))[1] == (0, 0, 1)
    assert not (await backend.take_many([demand.costing(1)]))[0]


async def test_a_caller_that_leaves_takes_nobody_along(server: Server, connect: Open, name: str) -> None:
    backend = connect(server.url)
    demand = Demand(MINUTE, "minute", name)

    async def take() -> Answer:
        return await backend.take_many([demand])

    leaving, staying = asyncio.create_task(take()), asyncio.create_task(take())
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying)[0]
    assert leaving.cancelled() or (await asyncio.gather(leaving, return_exceptions=True))


async def test_a_cluster_takes_all_windows_of_a_call_in_one_step(
    cluster_url: str, connect: Open, name: str
) -> None:
    limits = Limits(connect(cluster_url))
    demands = [
        Demand(MINUTE, "minute", f"{name}:live", owner=name),
        Demand(DAY, "day", f"{name}:live", owner=name),
        Demand(Rate(2, 60, "minute"), "shout-minute", f"key:{secrets.token_hex(8)}:shout", owner=name),
    ]
    assert len({key_slot(name_of(demand).encode()) for demand in demands}) == 1
    many = [Demand(MINUTE, "minute", f"{name}:{number}") for number in range(40)]
    await asyncio.gather(*(limits.take([one]) for one in many))
    assert [status.remaining for status in await limits.take(demands)] == [59, 999, 1]
    await limits.take(demands)
    with pytest.raises(RateLimited):
        await limits.take(demands)
    assert [status.remaining for status in await limits.peek(demands)] == [58, 998, 0]
    assert [(await limits.peek([one]))[0].remaining for one in many] == [59] * 40


async def test_a_service_behind_a_sentinel_is_found(sentinel_url: str, connect: Open, name: str) -> None:
    backend = connect(sentinel_url)
    answers = await asyncio.gather(*(backend.take_many([Demand(MINUTE, "minute", name)]) for _ in range(9)))
    assert all(passed for passed, _ in answers)
    with pytest.raises(StoreUnavailable):
        await connect(sentinel_url.replace("/limits", "/other")).take_many([Demand(MINUTE, "minute", name)])


async def test_a_server_that_became_a_replica_is_left(server: Server, connect: Open, name: str) -> None:
    backend = connect(server.url)
    demand = Demand(MINUTE, "minute", name)
    await backend.take_many([demand])
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(StoreUnavailable):
            await backend.take_many([demand])
        client.replicaof("NO", "ONE")
    assert (await backend.take_many([demand]))[0]


async def test_the_names_of_counters_say_who_and_what_and_nothing_else(
    server: Server, connect: Open, name: str
) -> None:
    reading: list[Reading] = await connect(server.url).add_many([Demand(MINUTE, "minute", name, 3)])
    assert reading == [(0, 3, 1)]
    with server.client() as client:
        (key,) = client.keys()
        assert key.decode() == f"af:limit:{{{name}}}:{name}/minute/60"
        assert re.fullmatch(rb"0 3 \d{13}", client.get(key))
