"""What is measured together, and what of it a run was asked for."""

from __future__ import annotations

import pytest

from bench.failure import BenchFailed
from bench.suites import chosen, suites, without_node


def names(*only: str) -> dict[str, list[str]]:
    return {suite.name: [each.name for each in suite.contenders] for suite in chosen(suites(), only)}


def test_a_contender_is_named_once_in_its_table() -> None:
    for found in names().values():
        assert len(found) == len(set(found))


def test_every_row_that_a_goal_reads_is_measured() -> None:
    assert {"bare", "full", "redis", "mercurius-jit", "mercurius-jit-usage", "strawberry-cached"} <= set(
        names()["call"]
    )
    assert {"full", "free"} <= set(names()["commit"])
    assert {"full-list", "mercurius-jit-list"} <= set(names()["list"])
    assert names()["keys"][:2] == ["keys-100", "keys-1000000"]
    assert names()["workers"] == ["workers-1-32", "workers-4-128", "workers-4-32"]


def test_a_contender_is_measured_beside_the_first_of_its_table() -> None:
    assert names("yoga") == {"call": ["bare", "yoga"]}
    assert names("full-list", "redis") == {"call": ["bare", "redis"], "list": ["bare-list", "full-list"]}


def test_a_table_is_measured_whole() -> None:
    assert names("workers") == {"workers": ["workers-1-32", "workers-4-128", "workers-4-32"]}
    assert names("bare") == {"call": ["bare"], "commit": ["bare"]}


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BenchFailed, match=r"'nobody'.* apollo, ariadne, .*yoga"):
        chosen(suites(), ["nobody"])


def test_without_node_its_peers_are_left_out_and_named() -> None:
    kept, left_out = without_node(suites())
    assert "mercurius-jit" not in [each.name for suite in kept for each in suite.contenders]
    assert left_out == (
        "Mercurius with JIT",
        "Mercurius without JIT",
        "Mercurius with JIT, writes usage",
        "Apollo Server, standalone",
        "GraphQL Yoga",
    )
