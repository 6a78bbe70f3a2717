"""A verdict is what the rounds say, and never better."""

from __future__ import annotations

import pytest

from bench.figures import Spread
from bench.goals import GOALS, judge
from bench.results import Results, Table
from tests.bench.making import calls, results, row

OF_BARE = GOALS[0].text
COMMIT = "The durable commit of a lone call, in bare commits"


def verdict(run: Results, text: str) -> tuple[Spread | None, str]:
    found = next(each for each in judge(run) if each.goal.text == text)
    return found.measured, found.verdict


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ((600, 700, 800), "met"),
        ((599, 700, 800), "within noise"),
        ((400, 500, 601), "within noise"),
        ((400, 500, 599), "not met"),
    ],
)
def test_a_goal_is_met_only_when_every_round_meets_it(rates: tuple[float, ...], said: str) -> None:
    run = calls(row("bare", 1000, 1000, 1000), row("full", *rates))
    assert verdict(run, OF_BARE)[1] == said


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {each.verdict for each in judge(results())} == {"not measured"}
    assert verdict(calls(row("full", 1)), OF_BARE) == (None, "not measured")


def test_the_commit_is_what_the_charge_adds_in_commits_of_one_row() -> None:
    rows = (row("full", 1, p50_us=900), row("free", 1, p50_us=300), row("bare-commit", 1, p50_us=400))
    assert verdict(results(Table("commit", "", 1, rows)), COMMIT) == (Spread(1.5, 1.5, 1.5), "met")


def test_cpu_that_grows_with_the_keys_misses_its_goal() -> None:
    rows = (row("keys-100", 1, 1, cpu_us=100), row("keys-1000000", 1, 1, cpu_us=111))
    run = results(Table("keys", "", 32, rows))
    assert verdict(run, "CPU a request with many keys, of that with 100")[1] == "not met"
