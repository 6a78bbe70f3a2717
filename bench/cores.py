"""Which cores the server gets and which the rest, and what both have used. Linux only: it reads /proc."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.failure import BenchFailed

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
_USER, _SYSTEM, _PARENT = 11, 12, 1  # places in /proc/PID/stat after the name (proc(5) counts from 1)
_IDLE, _IO_WAIT, _STEAL = 3, 4, 7  # places in a line of /proc/stat


@dataclass(frozen=True, slots=True)
class Cores:
    """The server runs on `server`; the load, PostgreSQL and Redis on `load`."""

    server: frozenset[int]
    load: frozenset[int]


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds that cores have spent since the machine started: at work, and taken away by the host."""

    busy: float
    stolen: float


def divide_cores() -> Cores:
    """Give the server one of the cores that this process may use, and the load the others.

    Raises:
        BenchFailed: There is one core only, or no /proc.
    """
    if not (_PROC / "stat").exists():
        raise BenchFailed("The benchmark reads CPU time from /proc, so it runs on Linux.")
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise BenchFailed("The benchmark needs two cores, one for the server and one for the load.")
    return Cores(frozenset({first}), frozenset(others))


@contextlib.contextmanager
def pinned(cores: Iterable[int]) -> Iterator[None]:
    """Keep this thread, and what it starts meanwhile, to these cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores_used(cores: Iterable[int], proc: Path = _PROC) -> Used:
    """Return what these cores have spent, added up."""
    busy = stolen = 0
    wanted = {f"cpu{core}" for core in cores}
    for line in (proc / "stat").read_text().splitlines():
        name, *spent = line.split()
        if name in wanted:
            ticks = [int(each) for each in spent[:8]]
            stolen += ticks[_STEAL]
            busy += sum(ticks) - ticks[_IDLE] - ticks[_IO_WAIT] - ticks[_STEAL]
    return Used(busy / _TICKS, stolen / _TICKS)


def family_seconds(pid: int, proc: Path = _PROC) -> float:
    """Return the CPU seconds of a process and of all that descend from it and are still there."""
    spent: dict[int, int] = {}
    children = defaultdict(list)
    for each, fields in _processes(proc):
        spent[each] = int(fields[_USER]) + int(fields[_SYSTEM])
        children[int(fields[_PARENT])].append(each)
    ticks, left = 0, [pid]
    while left:
        one = left.pop()
        ticks += spent.get(one, 0)
        left += children[one]
    return ticks / _TICKS


def _processes(proc: Path) -> Iterator[tuple[int, list[str]]]:
    for directory in proc.iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            text = (directory / "stat").read_text()
        except OSError:  # it has ended
            continue
        # The name may hold anything, a parenthesis too.
        yield int(directory.name), text.rpartition(")")[2].split()
