"""One allowance for each of very many callers, in memory that has a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api_factory.clock import ManualClock
from api_factory.limits import Allowances
from api_factory.rates import Rate


def allowances(clock: ManualClock, limit: int = 6, window_seconds: int = 60, **options: int) -> Allowances:
    return Allowances(Rate(limit, window_seconds, "minute"), "docs", clock.monotonic, **options)


def test_the_limit_passes_at_once_and_then_one_for_each_share_of_the_window() -> None:
    clock = ManualClock()
    allowed = allowances(clock)
    for remaining in (5, 4, 3, 2, 1, 0):
        assert allowed.delay_seconds("a") == 0
        allowed.take("a")
        assert allowed.status("a").remaining == remaining
    assert allowed.delay_seconds("a") == 10
    clock.advance(9.5)
    assert (allowed.delay_seconds("a"), allowed.status("a").reset_seconds) == (1, 1)
    clock.advance(0.5)
    assert allowed.delay_seconds("a") == 0
    allowed.take("a")
    assert (allowed.delay_seconds("a"), allowed.delay_seconds("b")) == (10, 0)
    clock.advance(60)
    assert tuple(allowed.status("a")) == ("docs", 6, 60, 6, 0)


def test_what_is_given_back_was_never_taken_and_nobody_gets_more_than_his_allowance() -> None:
    clock = ManualClock()
    allowed = allowances(clock)
    allowed.give_back("a")
    assert len(allowed) == 0
    for _ in range(6):
        allowed.take("a")
    for _ in range(2):
        allowed.give_back("a")
    assert allowed.status("a").remaining == 2
    for _ in range(9):
        allowed.give_back("a")
    assert (allowed.status("a").remaining, len(allowed)) == (6, 0)


def test_the_callers_seen_longest_ago_are_forgotten_first() -> None:
    allowed = allowances(ManualClock(), max_callers=2)
    for caller in ("a", "b", "a", "c"):
        allowed.take(caller)
    assert len(allowed) == 2
    assert [allowed.status(caller).remaining for caller in "abc"] == [4, 6, 5]


@given(st.integers(1, 50), st.integers(1, 100), st.lists(st.floats(0, 30), max_size=200))
def test_no_stretch_of_time_lets_more_through_than_the_limit_and_what_came_back(
    limit: int, window_seconds: int, pauses: list[float]
) -> None:
    clock = ManualClock()
    allowed = allowances(clock, limit, window_seconds)
    passed: list[float] = []
    for pause in pauses:
        clock.advance(pause)
        delay_seconds = allowed.delay_seconds("a")
        if delay_seconds == 0:
            allowed.take("a")
            passed.append(clock.monotonic())
        else:
            assert allowed.status("a").remaining == 0
            assert 1 <= delay_seconds <= -(-window_seconds // limit) + 1
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            # A microsecond of rounding for each that passed.
            came_back = (passed[last] - start + 1e-6 * (last + 1)) * limit / window_seconds
            assert last - first + 1 <= limit + came_back + 1e-3 + (last + 1) * limit * 1e-6
