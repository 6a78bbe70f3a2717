from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_factory.limits.windows import Demand, Reading, delay_ms, status_of, units_used
from api_factory.rates import Rate

WINDOWS_MS = st.sampled_from([1_000, 7_000, 60_000, 86_400_000])


@st.composite
def readings(draw: st.DrawFn) -> tuple[Reading, int]:
    window_ms = draw(WINDOWS_MS)
    counts = st.integers(0, 5_000)
    return (draw(counts), draw(counts), draw(st.integers(1, window_ms))), window_ms


def later(reading: Reading, window_ms: int, milliseconds: int) -> Reading:
    """The same counter when nobody has called for a while, one window at a time."""
    previous, current, elapsed_ms = reading
    elapsed_ms += milliseconds
    while elapsed_ms > window_ms:
        previous, current, elapsed_ms = current, 0, elapsed_ms - window_ms
    return previous, current, elapsed_ms


@given(readings(), st.integers(0, 10_000))
def test_the_delay_is_exact_to_the_millisecond(case: tuple[Reading, int], target: int) -> None:
    reading, window_ms = case
    delay = delay_ms(reading, window_ms, target)
    assert units_used(later(reading, window_ms, delay), window_ms) <= target
    if delay:
        assert units_used(later(reading, window_ms, delay - 1), window_ms) > target


@given(readings(), st.integers(1, 10_000))
def test_one_more_unit_is_free_at_the_reset_and_that_is_within_the_window(
    case: tuple[Reading, int], limit: int
) -> None:
    (previous, current, elapsed_ms), window_ms = case
    reading = (min(previous, limit), min(current, limit), elapsed_ms)
    limit = max(limit, units_used(reading, window_ms))
    status = status_of(Demand(Rate(limit, window_ms // 1000, "w"), "w", "key:1"), reading)
    assert status.remaining == max(0, limit - units_used(reading, window_ms))
    if status.remaining == limit:
        assert status.reset_seconds == 0
        return
    assert 1 <= status.reset_seconds <= window_ms // 1000
    freed = status_of(
        Demand(Rate(limit, window_ms // 1000, "w"), "w", "key:1"),
        later(reading, window_ms, status.reset_seconds * 1000),
    )
    assert freed.remaining > status.remaining


def test_a_full_window_spent_at_one_instant_resets_when_it_ends() -> None:
    demand = Demand(Rate(10, 1, "second"), "second", "key:1")
    assert status_of(demand, (0, 10, 1)) == ("second", 10, 1, 0, 1)


def test_a_demand_counts_on_under_a_changed_limit() -> None:
    before = Demand(Rate(10, 60, "minute"), "minute", "account:a")
    after = Demand(Rate(99, 60, "minute"), "minute", "account:a")
    assert before.key == after.key


@pytest.mark.parametrize(
    "other",
    [
        Demand(Rate(10, 60, "minute"), "minute", "account:b"),
        Demand(Rate(10, 60, "minute"), "shout-minute", "account:a"),
        Demand(Rate(10, 3_600, "hour"), "minute", "account:a"),
    ],
)
def test_subject_policy_and_window_tell_counters_apart(other: Demand) -> None:
    assert Demand(Rate(10, 60, "minute"), "minute", "account:a").key != other.key


def test_a_demand_has_no_negative_cost() -> None:
    with pytest.raises(ValueError, match="cannot cost -1"):
        Demand(Rate(10, 60, "minute"), "minute", "account:a", -1)


def test_a_share_is_never_less_than_one_call() -> None:
    demand = Demand(Rate(10, 60, "minute"), "minute", "account:a", 3)
    assert [demand.divided(n).limit for n in (1, 2, 3, 10, 11, 1000)] == [10, 5, 3, 1, 1, 1]
    assert demand.divided(3).key == demand.key
    assert demand.divided(3).cost == 3
