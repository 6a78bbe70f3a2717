"""The goals for speed and what a run says about each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from bench.commits import NAME as BARE_COMMIT
from bench.figures import Spread, spread
from bench.results import Results, Row

Verdict = Literal["met", "within noise", "not met", "not measured"]

FLAT: Final = 1.10
"""CPU a request counts as flat when it grows by no more than this."""
COMMIT_MOST: Final = 1.5
"""What the durable commit may add, in commits of one bare row: its function does more than an INSERT."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What was wanted, and how to read it off the results; `is_most` says that less is better."""

    text: str
    limit: float
    measure: Callable[[Results], Spread | None]
    is_most: bool = False

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'at most' if self.is_most else 'at least'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A goal with what was measured.

    `within noise` says that the median keeps the goal and some round does not, or the other way round.
    """

    goal: Goal
    measured: Spread | None
    verdict: Verdict


def judge(results: Results) -> Iterator[Judged]:
    """Yield every goal with its verdict."""
    for goal in GOALS:
        measured = goal.measure(results)
        yield Judged(goal, measured, _verdict(goal, measured))


def _verdict(goal: Goal, measured: Spread | None) -> Verdict:
    if measured is None:
        return "not measured"
    kept = [
        value <= goal.limit if goal.is_most else value >= goal.limit
        for value in (measured.median, measured.least, measured.most)
    ]
    if all(kept):
        return "met"
    return "within noise" if any(kept) else "not met"


def _ratio(table: str, one: str, other: str) -> Callable[[Results], Spread | None]:
    return _of_two(table, one, other, Row.ratio_to)


def _cpu_ratio(table: str, one: str, other: str) -> Callable[[Results], Spread | None]:
    return _of_two(table, one, other, Row.cpu_ratio_to)


def _of_two(
    table: str, one: str, other: str, compare: Callable[[Row, Row], Spread | None]
) -> Callable[[Results], Spread | None]:
    def measure(results: Results) -> Spread | None:
        first, second = results.row(table, one), results.row(table, other)
        return compare(first, second) if first is not None and second is not None else None

    return measure


def _commit(results: Results) -> Spread | None:
    """Return the latency that the charge adds to a lone call, in bare commits, paired by round."""
    rows = [results.row("commit", name) for name in ("full", "free", BARE_COMMIT)]
    full, free, bare = rows
    if full is None or free is None or bare is None:
        return None
    rounds = zip(full.samples, free.samples, bare.samples, strict=True)
    return spread([(one.p50_us - other.p50_us) / unit.p50_us for one, other, unit in rounds])


def _keys(results: Results) -> Spread | None:
    table = results.table("keys")
    if table is None or len(table.rows) < 2:
        return None
    few, many, *_ = table.rows
    return many.cpu_ratio_to(few)


GOALS: Final = (
    Goal("Everything on, of bare ASGI", 0.60, _ratio("call", "full", "bare")),
    Goal(
        "Everything on, of Mercurius with JIT, which charges nothing",
        1.0,
        _ratio("call", "full", "mercurius-jit"),
    ),
    Goal(
        "Everything on, of Mercurius with JIT that writes usage",
        3.0,
        _ratio("call", "full", "mercurius-jit-usage"),
    ),
    Goal(
        "Everything on, of Strawberry's view with its caches",
        5.0,
        _ratio("call", "full", "strawberry-cached"),
    ),
    Goal(
        "A list of 50 x 5 fields, of Mercurius with JIT",
        1.0,
        _ratio("list", "full-list", "mercurius-jit-list"),
    ),
    Goal("Limits in Redis, of limits in memory", 0.75, _ratio("call", "redis", "full")),
    Goal("The durable commit of a lone call, in bare commits", COMMIT_MOST, _commit, is_most=True),
    Goal("CPU a request with many keys, of that with 100", FLAT, _keys, is_most=True),
    Goal(
        "CPU a request with 4 workers of 32 connections each, of that with 1",
        FLAT,
        _cpu_ratio("workers", "workers-4-128", "workers-1-32"),
        is_most=True,
    ),
)
