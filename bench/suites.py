"""What is measured together: contenders that are compared with each other, in the same rounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from bench.contenders import (
    ABLATION,
    BARE,
    FREE,
    FULL,
    JIT_USAGE,
    LISTS,
    PEERS,
    Contender,
    Node,
    keyed,
    staffed,
)
from bench.failure import BenchFailed

FEW_KEYS: Final = 100
MANY_KEYS: Final = 1_000_000
MANY_KEYS_QUICK: Final = 20_000


@dataclass(frozen=True, slots=True)
class Suite:
    """One table. Ratios are to its first contender; `times_commits` adds bare commits of PostgreSQL."""

    name: str
    title: str
    connections: int
    contenders: tuple[Contender, ...]
    times_commits: bool = False


def suites(*, is_quick: bool = False) -> tuple[Suite, ...]:
    """Return all that is measured; a quick run has fewer keys where there are many."""
    many = MANY_KEYS_QUICK if is_quick else MANY_KEYS
    return (
        Suite("call", "One guarded call, 32 connections", 32, (BARE, FULL, *ABLATION, *PEERS)),
        Suite(
            "commit",
            "The durable commit, 1 connection",
            1,
            (BARE, FULL, FREE, JIT_USAGE),
            times_commits=True,
        ),
        Suite("list", "A list of 50 x 5 fields, 32 connections", 32, LISTS),
        Suite(
            "keys",
            "Keys in the database, 32 connections",
            32,
            (keyed(FEW_KEYS), keyed(many), keyed(many, has_many_callers=True)),
        ),
        Suite(
            "workers",
            "Workers on the same core, limits in Redis",
            32,
            (staffed(1, 32), staffed(4, 128), staffed(4, 32)),
        ),
    )


def chosen(found: Iterable[Suite], only: Iterable[str]) -> tuple[Suite, ...]:
    """Return the suites and contenders of these names, all when there is none.

    The first contender of a suite stays, for without it there are no ratios. Raises `BenchFailed` for a
    name that nobody has, and lists those that there are.
    """
    found, names = tuple(found), set(only)
    if not names:
        return found
    known = {suite.name for suite in found} | {each.name for suite in found for each in suite.contenders}
    if unknown := sorted(names - known):
        raise BenchFailed(f"Nothing is called {unknown[0]!r}. There are: {', '.join(sorted(known))}.")
    return tuple(filter(None, (_part(suite, names) for suite in found)))


def without_node(found: Iterable[Suite]) -> tuple[tuple[Suite, ...], tuple[str, ...]]:
    """Return the suites without the peers of Node, and the titles of those left out."""
    kept, left_out = [], []
    for suite in found:
        stay = tuple(each for each in suite.contenders if not isinstance(each.server, Node))
        left_out += [each.title for each in suite.contenders if each not in stay]
        kept.append(replace(suite, contenders=stay))
    return tuple(kept), tuple(dict.fromkeys(left_out))


def _part(suite: Suite, names: set[str]) -> Suite | None:
    if suite.name in names:
        return suite
    first, *others = suite.contenders
    kept = tuple(each for each in others if each.name in names)
    is_named = first.name in names and not kept
    return replace(suite, contenders=(first, *kept)) if kept or is_named else None
