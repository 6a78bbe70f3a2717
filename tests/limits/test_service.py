from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_factory.clock import ManualClock
from api_factory.errors import CostLimitExceeded, RateLimited
from api_factory.limits import Demand, Limits, WindowStatus, WindowStorage
from api_factory.rates import Rate

T = TypeVar("T")

SECOND = Demand(Rate(3, 1, "second"), "second", "key:1")
MINUTE = Demand(Rate(5, 60, "minute"), "minute", "key:1")
DAY = Demand(Rate(1_000, 86_400, "day"), "day", "account:1")


def now(call: Coroutine[object, object, T]) -> T:
    """Run a call that must not wait for anything."""
    try:
        call.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    call.close()
    raise AssertionError("the call waited")


def passes(limits: Limits, *demands: Demand) -> bool:
    try:
        now(limits.take(demands))
    except RateLimited:
        return False
    return True


def taken(limits: Limits, demand: Demand, attempts: int) -> int:
    return sum(passes(limits, demand) for _ in range(attempts))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def storage(clock: ManualClock) -> WindowStorage:
    return WindowStorage(clock=clock)


@pytest.fixture
def limits(storage: WindowStorage) -> Limits:
    return Limits(storage)


def test_exactly_the_limit_passes_in_a_window(limits: Limits) -> None:
    assert taken(limits, MINUTE, 50) == 5


def test_exactly_the_limit_passes_in_every_window_that_follows_silence(
    limits: Limits, clock: ManualClock
) -> None:
    for _ in range(5):
        assert taken(limits, MINUTE, 20) == 5
        clock.advance(120)


def test_the_previous_window_fades_unit_by_unit(limits: Limits, clock: ManualClock) -> None:
    assert taken(limits, MINUTE, 20) == 5
    clock.advance(59.999)
    assert taken(limits, MINUTE, 20) == 0
    for _ in range(5):
        clock.advance(0.001)
        assert taken(limits, MINUTE, 20) == 1
        clock.advance(11.999)


def test_the_same_rate_goes_on_for_ever(limits: Limits, clock: ManualClock) -> None:
    minutes, passed = 200, 0
    for _ in range(minutes * 60):
        passed += taken(limits, MINUTE, 2)
        clock.advance(1)
    # The window's own first burst, then a limit's worth a window.
    assert minutes * 5 <= passed <= minutes * 5 + 5


def test_windows_begin_at_their_first_hit(limits: Limits, clock: ManualClock) -> None:
    clock.advance(59.5)
    assert now(limits.take([MINUTE])) == (WindowStatus("minute", 5, 60, 4, 60),)
    clock.advance(1)
    assert now(limits.peek([MINUTE])) == (WindowStatus("minute", 5, 60, 4, 59),)


def test_every_window_must_pass(limits: Limits, clock: ManualClock) -> None:
    assert [passes(limits, SECOND, MINUTE, DAY) for _ in range(4)] == [True, True, True, False]
    clock.advance(2)
    assert [passes(limits, SECOND, MINUTE, DAY) for _ in range(4)] == [True, True, False, False]
    assert now(limits.peek([DAY]))[0].remaining == 1_000 - 5


@pytest.mark.parametrize("order", [(MINUTE, DAY, SECOND), (SECOND, DAY, MINUTE), (DAY, SECOND, MINUTE)])
def test_a_refused_call_consumes_nothing_anywhere(
    limits: Limits, storage: WindowStorage, order: tuple[Demand, ...]
) -> None:
    now(limits.take([SECOND.costing(3)]))
    before = now(limits.peek(order))
    for _ in range(10):
        assert not passes(limits, *order)
    assert now(limits.peek(order)) == before
    assert len(storage) == 1


def test_a_refusal_says_which_window_and_when_to_come_back(limits: Limits, clock: ManualClock) -> None:
    now(limits.take([SECOND.costing(3), MINUTE.costing(5)]))
    clock.advance(0.25)
    with pytest.raises(RateLimited) as refusal:
        now(limits.take([SECOND, MINUTE, DAY]))
    assert refusal.value.retry_after_seconds == 60
    assert refusal.value.extensions == {"policy": "minute", "limit": 5, "window": 60, "remaining": 0}
    assert refusal.value.statuses == (
        WindowStatus("second", 3, 1, 0, 1),
        WindowStatus("minute", 5, 60, 0, 60),
        WindowStatus("day", 1_000, 86_400, 1_000, 0),
    )


def test_a_cost_that_no_window_can_hold_is_refused_for_good(limits: Limits, storage: WindowStorage) -> None:
    with pytest.raises(CostLimitExceeded) as refusal:
        now(limits.take([DAY, MINUTE.costing(6)]))
    assert refusal.value.retry_after_seconds is None
    assert refusal.value.extensions == {"cost": 6, "maximum": 5, "policy": "minute"}
    assert len(storage) == 0


def test_demands_of_one_counter_are_added_up(limits: Limits) -> None:
    assert now(limits.take([MINUTE, DAY, MINUTE.costing(3)])) == (
        WindowStatus("minute", 5, 60, 1, 60),
        WindowStatus("day", 1_000, 86_400, 999, 86_400),
    )
    assert not passes(limits, MINUTE, MINUTE)
    assert passes(limits, MINUTE)


def test_of_two_limits_on_one_counter_the_stricter_holds(limits: Limits) -> None:
    looser = Demand(Rate(50, 60, "minute"), MINUTE.policy, MINUTE.subject)
    assert now(limits.take([looser, MINUTE])) == (WindowStatus("minute", 5, 60, 3, 60),)


def test_a_lowered_limit_takes_nothing_back_and_a_raised_one_frees(limits: Limits) -> None:
    now(limits.take([MINUTE.costing(4)]))
    lowered = Demand(Rate(2, 60, "minute"), MINUTE.policy, MINUTE.subject)
    assert not passes(limits, lowered)
    assert now(limits.peek([lowered])) == (WindowStatus("minute", 2, 60, 0, 90),)
    assert taken(limits, Demand(Rate(10, 60, "minute"), MINUTE.policy, MINUTE.subject), 20) == 6


def test_a_call_without_cost_takes_nothing_and_passes_a_full_window(limits: Limits) -> None:
    now(limits.take([MINUTE.costing(5)]))
    assert now(limits.take([MINUTE.costing(0)]))[0].remaining == 0


def test_a_call_without_limits_passes(limits: Limits) -> None:
    assert now(limits.take([])) == ()


def test_peeking_consumes_nothing(limits: Limits, storage: WindowStorage) -> None:
    for _ in range(20):
        assert now(limits.peek([MINUTE.costing(99)])) == (WindowStatus("minute", 5, 60, 5, 0),)
    assert len(storage) == 0


async def test_racing_callers_share_one_limit(limits: Limits) -> None:
    async def call() -> bool:
        await asyncio.sleep(0)
        return passes(limits, MINUTE)

    assert sum(await asyncio.gather(*(call() for _ in range(200)))) == 5


def test_workers_without_a_shared_store_hold_a_share_each(storage: WindowStorage) -> None:
    limits = Limits(storage, divisor=2)
    assert taken(limits, MINUTE, 20) == 2
    with pytest.raises(CostLimitExceeded):
        now(limits.take([MINUTE.costing(3)]))
    limits.divisor = 1
    assert taken(limits, MINUTE, 20) == 3
    limits.divisor = 100
    assert limits.divisor == 100
    assert now(limits.peek([MINUTE]))[0].limit == 1


def test_a_divisor_below_one_is_refused(storage: WindowStorage) -> None:
    with pytest.raises(ValueError, match="divided by 0"):
        Limits(storage, divisor=0)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 150_000),
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=30,
)
POOL = (
    Demand(Rate(7, 1, "second"), "second", "key:1"),
    Demand(Rate(11, 60, "minute"), "minute", "key:1"),
    Demand(Rate(23, 97, "97s"), "97s", "account:1"),
)


@given(STEPS)
def test_a_retry_passes_at_the_promised_second_and_not_one_earlier(
    steps: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    clock = ManualClock()
    limits = Limits(WindowStorage(clock=clock))
    for milliseconds, picks in steps:
        clock.advance(milliseconds / 1000)
        demands = [POOL[index].costing(cost) for index, cost in picks]
        try:
            now(limits.take(demands))
        except CostLimitExceeded:
            continue
        except RateLimited as refusal:
            clock.advance((refusal.retry_after_seconds or 0) - 1)
            assert not passes(limits, *demands)
            clock.advance(1)
            assert passes(limits, *demands)
