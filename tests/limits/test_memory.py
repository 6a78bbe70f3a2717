from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string

from api_factory.clock import ManualClock
from api_factory.errors import RateLimited
from api_factory.limits import Demand, Limits, WindowStorage
from api_factory.limits.memory import SWEPT_PER_WINDOW
from api_factory.rates import Rate, parse_rates


class RedisModel:
    """The library's Redis script, line by line, over a dictionary of (value, expires at) in milliseconds.

    One thing differs on purpose: a counter lives 1 ms less, because a millisecond that has begun counts.
    """

    def __init__(self) -> None:
        self.now_ms = 0
        self.rows: dict[str, tuple[int, int]] = {}

    def pttl(self, key: str) -> int:
        row = self.rows.get(key)
        return max(0, row[1] - self.now_ms) if row else 0

    def value(self, key: str) -> int:
        return self.rows[key][0] if self.pttl(key) > 0 else 0

    def acquire(self, key: str, limit: int, expiry_ms: int, amount: int) -> bool:
        previous, current = key + "/-1", key
        if amount > limit:
            return False
        ttl = self.pttl(current)
        if 0 < ttl < expiry_ms:
            self.rows[previous] = self.rows[current]
            self.rows[current] = (0, self.now_ms + ttl + expiry_ms)
        weighted = self.value(previous) * self.pttl(previous) // expiry_ms + self.value(current)
        if weighted + amount > limit:
            return False
        if self.pttl(current) > 0:
            self.rows[current] = (self.value(current) + amount, self.rows[current][1])
        else:
            self.rows[current] = (amount, self.now_ms + 2 * expiry_ms - 1)
        return True


HITS = st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 9)), max_size=60)


@given(HITS, st.integers(1, 8))
async def test_the_verdicts_are_those_of_the_library_on_redis(
    hits: list[tuple[int, int]], limit: int
) -> None:
    clock, model = ManualClock(), RedisModel()
    storage = WindowStorage(clock=clock)
    for milliseconds, cost in hits:
        clock.advance(milliseconds / 1000)
        model.now_ms += milliseconds
        expected = model.acquire("key", limit, 1_000, cost)
        assert await storage.acquire_sliding_window_entry("key", limit, 1, cost) is expected


@given(HITS, st.integers(1, 8))
async def test_the_library_strategy_on_this_storage_gives_the_same_verdicts_as_the_service(
    hits: list[tuple[int, int]], limit: int
) -> None:
    clock = ManualClock()
    rate = Rate(limit, 1, "second")
    service = Limits(WindowStorage(clock=clock))
    strategy = SlidingWindowCounterRateLimiter(WindowStorage(clock=clock))
    for milliseconds, cost in hits:
        clock.advance(milliseconds / 1000)
        cost = min(cost, limit)
        demand = Demand(rate, "second", "key:1", cost)
        stats = await strategy.get_window_stats(rate.item, "key:1")
        assert (await service.peek([demand]))[0].remaining == stats.remaining
        foreseen = await strategy.test(rate.item, "key:1", cost=cost)
        try:
            await service.take([demand])
            passed = True
        except RateLimited:
            passed = False
        assert await strategy.hit(rate.item, "key:1", cost=cost) is passed
        assert foreseen is passed


async def test_the_library_finds_the_storage_by_its_scheme() -> None:
    storage = storage_from_string("async+window://")
    assert isinstance(storage, WindowStorage)
    assert await storage.check()
    assert storage.base_exceptions is ValueError
    limiter = SlidingWindowCounterRateLimiter(storage)
    (rate,) = parse_rates("3/hour")
    assert [await limiter.hit(rate.item, "a") for _ in range(5)] == [True, True, True, False, False]
    await limiter.clear(rate.item, "a")
    assert await limiter.hit(rate.item, "a")
    assert not await limiter.hit(rate.item, "b", cost=4)


async def test_the_fixed_window_strategy_runs_too() -> None:
    clock = ManualClock()
    storage = WindowStorage(clock=clock)
    limiter = FixedWindowRateLimiter(storage)
    (rate,) = parse_rates("2/minute")
    assert [await limiter.hit(rate.item, "a") for _ in range(3)] == [True, True, False]
    clock.advance(20)
    stats = await limiter.get_window_stats(rate.item, "a")
    assert (stats.reset_time - clock.now().timestamp(), stats.remaining) == (40, 0)
    clock.advance(40)
    assert await limiter.test(rate.item, "a")
    assert (await limiter.get_window_stats(rate.item, "a")).reset_time == clock.now().timestamp()
    assert await limiter.hit(rate.item, "a")
    await limiter.clear(rate.item, "a")
    assert len(storage) == 0


async def test_reset_forgets_everything() -> None:
    storage = WindowStorage(clock=ManualClock())
    limits = Limits(storage)
    demand = Demand(Rate(1, 60, "minute"), "minute", "key:1")
    await limits.take([demand])
    assert await storage.reset() == 1
    await limits.take([demand])
    assert len(storage) == 1


def demand_of(number: int, rate: Rate) -> Demand:
    return Demand(rate, rate.name, f"key:{number}")


async def test_memory_holds_no_more_than_the_keys_that_called_lately() -> None:
    clock = ManualClock()
    storage = WindowStorage(clock=clock)
    limits = Limits(storage)
    second, minute = Rate(5, 1, "second"), Rate(50, 60, "minute")
    number = 0
    for _ in range(300):
        for _ in range(100):
            number += 1
            await limits.take([demand_of(number, second), demand_of(number, minute)])
        clock.advance(1)
    # 100 new keys a second: at most four windows' worth of each stays.
    assert len(storage) <= 100 * (4 * 1 + 4 * 60)
    clock.advance(10_000)
    for _ in range(len(storage)):
        await limits.take([demand_of(0, Rate(10**6, 1, "second"))])
    assert len(storage) == 1


async def test_a_key_in_steady_use_is_never_forgotten_and_never_keeps_others_alive() -> None:
    clock = ManualClock()
    storage = WindowStorage(clock=clock)
    limits = Limits(storage)
    steady = Demand(Rate(1_000, 10, "10s"), "10s", "key:steady")
    for number in range(50):
        await limits.take([demand_of(number, steady.rate)])
    for _ in range(100):
        await limits.take([steady])
        clock.advance(1)
    assert len(storage) == 1
    assert (await limits.peek([steady]))[0].remaining == 991


async def test_a_forgotten_key_that_comes_back_is_counted_once() -> None:
    clock = ManualClock()
    storage = WindowStorage(clock=clock)
    limits = Limits(storage)
    demand = demand_of(1, Rate(2, 1, "second"))
    for _ in range(30):
        await limits.take([demand, demand])
        clock.advance(5)
        assert (await limits.peek([demand]))[0].remaining == 2
    assert len(storage) <= 1
    assert sum(map(len, storage._queues.values())) <= SWEPT_PER_WINDOW


class CountingDict(dict[str, object]):
    """Counts what is done with it; walking over it is not allowed."""

    operations = 0

    def get(self, key: str, default: object = None) -> object:
        self.operations += 1
        return super().get(key, default)

    def __setitem__(self, key: str, value: object) -> None:
        self.operations += 1
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.operations += 1
        super().__delitem__(key)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a hit walked over all keys")

    keys = values = items = __iter__  # type: ignore[assignment]


@pytest.mark.parametrize("live_keys", [10, 100_000])
async def test_a_hit_costs_one_look_up_however_many_keys_are_live(live_keys: int) -> None:
    storage = WindowStorage(clock=ManualClock())
    counters = CountingDict()
    storage._counters = counters  # type: ignore[assignment]
    limits = Limits(storage)
    rate = Rate(5, 60, "minute")
    for number in range(live_keys):
        await limits.take([demand_of(number, rate)])
    demands = [demand_of(number, rate) for number in range(3)]
    counters.operations = 0
    await limits.take(demands)
    assert counters.operations == 3


async def test_a_sweep_looks_at_few_keys_even_when_all_have_expired() -> None:
    clock = ManualClock()
    storage = WindowStorage(clock=clock)
    limits = Limits(storage)
    rate = Rate(5, 60, "minute")
    for number in range(10_000):
        await limits.take([demand_of(number, rate)])
    clock.advance(1_000)
    counters = CountingDict(storage._counters.copy())
    storage._counters = counters  # type: ignore[assignment]
    await limits.take([demand_of(20_000, rate)])
    # Looked up and deleted each, then this call's own counter.
    assert counters.operations == 2 * SWEPT_PER_WINDOW + 2
    assert len(storage) == 10_000 - SWEPT_PER_WINDOW + 1
