"""Interleaved rounds: in each, every contender once, in an order that is drawn anew."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from bench.commits import NAME, TITLE, BareCommits
from bench.contenders import Contender, Server
from bench.failure import BenchFailed
from bench.figures import Sample
from bench.ground import Ground
from bench.results import Row, Table
from bench.servers import Served
from bench.suites import Suite

HOLD_SECONDS: Final = 10

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How many rounds, of how many seconds for each contender, after how many seconds to warm up."""

    rounds: int
    seconds: int
    warm_seconds: int = 2


def measure(suite: Suite, ground: Ground, pace: Pace, say: Say) -> Table:
    """Start everybody, prove that everybody answers right, and measure; all have ended when it returns.

    Raises:
        BenchFailed: A contender cannot be started, answers wrong, or ends.
    """
    with contextlib.ExitStack() as stack:
        served = _start(suite, ground, stack)
        for each in suite.contenders:
            served[each.server].check(each.request, is_guarded=each.is_guarded)
        commits = BareCommits(ground) if suite.times_commits else None
        for each in suite.contenders:
            say(f"{suite.name}: warming up {each.name}")
            _sample(suite, served[each.server], each, pace.warm_seconds)
        samples: dict[str, list[Sample]] = {}
        for number in range(1, pace.rounds + 1):
            for each in _shuffled(suite, number):
                sample = _sample(suite, served[each.server], each, pace.seconds)
                samples.setdefault(each.name, []).append(sample)
                say(_progress(suite, number, pace, each.name, sample))
            if commits is not None:
                samples.setdefault(NAME, []).append(commits.sample(pace.seconds))
        return _table(suite, samples)


def hold(suite: Suite, name: str, ground: Ground, say: Say) -> NoReturn:
    """Keep one contender under load until somebody interrupts, for a profiler to look at its process.

    Raises:
        BenchFailed: The suite has no such contender, or it cannot be started, answers wrong, or ends.
    """
    contender = next((each for each in suite.contenders if each.name == name), None)
    if contender is None:
        raise BenchFailed(f"The table {suite.name} has no {name!r}.")
    program = contender.server.program(ground)
    with Served(program, ground.cores, ground.directory / "held.log") as served:
        served.check(contender.request, is_guarded=contender.is_guarded)
        say(f"{contender.title} is process {served.pid}, under load until you press Ctrl-C")
        while True:
            sample = _sample(suite, served, contender, HOLD_SECONDS)
            say(f"{sample.requests_per_second:8.0f}/s {sample.cpu_us:8.1f} us CPU")


def _start(suite: Suite, ground: Ground, stack: contextlib.ExitStack) -> dict[Server, Served]:
    served: dict[Server, Served] = {}
    for each in suite.contenders:
        if each.server not in served:
            log = ground.directory / f"{suite.name}-{each.name}.log"
            program = each.server.program(ground)
            served[each.server] = stack.enter_context(Served(program, ground.cores, log))
    return served


def _shuffled(suite: Suite, number: int) -> list[Contender]:
    # Nobody always comes right after the same other, or always when the machine has warmed up.
    order = list(suite.contenders)
    random.Random(f"{suite.name} {number}").shuffle(order)  # noqa: S311 - an order, not a secret
    return order


def _sample(suite: Suite, served: Served, contender: Contender, seconds: int) -> Sample:
    connections = contender.connections or suite.connections
    return served.sample(contender.request, connections=connections, seconds=seconds)


def _table(suite: Suite, samples: dict[str, list[Sample]]) -> Table:
    titles = {each.name: each.title for each in suite.contenders} | {NAME: TITLE}
    order = [*(each.name for each in suite.contenders), *([NAME] if suite.times_commits else [])]
    rows = tuple(Row(name, titles[name], tuple(samples[name])) for name in order)
    return Table(suite.name, suite.title, suite.connections, rows)


def _progress(suite: Suite, number: int, pace: Pace, name: str, sample: Sample) -> str:
    return (
        f"{suite.name} {number}/{pace.rounds} {name:24} {sample.requests_per_second:8.0f}/s"
        f" {sample.cpu_us:8.1f} us CPU, others on the core {sample.foreign_share:4.0%}"
    )
