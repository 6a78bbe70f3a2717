"""Medians, ranges, and ratios within a round."""

from __future__ import annotations

from dataclasses import replace

from bench.figures import Spread, cpu, paired, spread, throughput
from tests.bench.making import SAMPLE, row


def test_a_spread_is_the_median_and_the_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)


def test_a_ratio_is_taken_within_each_round() -> None:
    # The machine was three times slower in the second round, for both alike.
    ours, theirs = row("a", 600, 200, 500), row("b", 1000, 400, 1000)
    assert paired(ours.samples, theirs.samples, throughput) == Spread(0.5, 0.5, 0.6)
    assert ours.ratio_to(theirs) == Spread(0.5, 0.5, 0.6)


def test_the_ratio_of_cpu_is_that_of_cpu() -> None:
    assert row("a", 1, 1, cpu_us=150).cpu_ratio_to(row("b", 9, 9, cpu_us=100)) == Spread(1.5, 1.5, 1.5)


def test_there_is_no_ratio_to_nothing() -> None:
    idle = (replace(SAMPLE, cpu_us=0.0),)
    assert paired((SAMPLE,), idle, cpu) is None
    assert paired((), (), cpu) is None


def test_a_row_with_one_answer_that_was_refused_is_not_clean() -> None:
    kept = row("a", 1000, 1000)
    assert kept.is_clean
    assert not replace(kept, samples=(SAMPLE, replace(SAMPLE, refused=1))).is_clean
