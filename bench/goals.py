"""The goals for speed and what a run says about each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from bench.commits import NAME as BARE_COMMIT
from bench.figures import Spread, spread
from bench.results import Results, Row

Verdict = Literal["met", "within noise", "not met", "not measured"]
Measure = Callable[[Results], Spread | None]

FLAT: Final = 1.10
"""CPU a request counts as flat when it grows by no more than this."""
COMMIT_MOST: Final = 1.5
"""What the durable commit may add, in commits of one bare row: its function does more than an INSERT."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What was wanted, and how to read it off the results; `is_most` says that less is better.

    `measure_cpu` is the same comparison by the CPU of the servers alone, where there is one.
    """

    text: str
    limit: float
    measure: Measure
    is_most: bool = False
    measure_cpu: Measure | None = None

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
    by_cpu: Spread | None


def judge(results: Results) -> Iterator[Judged]:
    """Yield every goal with its verdict."""
    for goal in GOALS:
        measured = goal.measure(results)
        by_cpu = goal.measure_cpu(results) if goal.measure_cpu is not None else None
        yield Judged(goal, measured, _verdict(goal, measured), by_cpu)


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


def _faster(text: str, limit: float, table: str, one: str, other: str) -> Goal:
    """Return the goal that one contender's throughput is at least so much of another's."""

    def by_cpu(results: Results) -> Spread | None:
        # Turned round: who needs half the CPU can give twice the answers.
        return _compared(results, table, (other, one), Row.cpu_ratio_to)

    return Goal(
        text,
        limit,
        lambda results: _compared(results, table, (one, other), Row.ratio_to),
        measure_cpu=by_cpu,
    )


def _flat(text: str, measure: Measure) -> Goal:
    return Goal(text, FLAT, measure, is_most=True)


def _compared(
    results: Results, table: str, names: tuple[str, str], compare: Callable[[Row, Row], Spread | None]
) -> Spread | None:
    first, second = (results.row(table, name) for name in names)
    return compare(first, second) if first is not None and second is not None else None


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


def _workers(results: Results) -> Spread | None:
    return _compared(results, "workers", ("workers-4-128", "workers-1-32"), Row.cpu_ratio_to)


GOALS: Final = (
    _faster("Everything on, of bare ASGI", 0.60, "call", "full", "bare"),
    _faster(
        "Everything on, of Mercurius with JIT, which charges nothing", 1.0, "call", "full", "mercurius-jit"
    ),
    _faster(
        "Everything on, of Mercurius with JIT that writes usage", 3.0, "call", "full", "mercurius-jit-usage"
    ),
    _faster("Everything on, of Strawberry's view with its caches", 5.0, "call", "full", "strawberry-cached"),
    _faster("A list of 50 x 5 fields, of Mercurius with JIT", 1.0, "list", "full-list", "mercurius-jit-list"),
    _faster("Limits in Redis, of limits in memory", 0.75, "call", "redis", "full"),
    Goal("The durable commit of a lone call, in bare commits", COMMIT_MOST, _commit, is_most=True),
    _flat("CPU a request with many keys, of that with 100", _keys),
    _flat("CPU a request with 4 workers of 32 connections each, of that with 1", _workers),
)
