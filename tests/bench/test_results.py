"""A file of results holds every round, and is read back as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.failure import BenchFailed
from bench.results import Table, dump, load, newest
from tests.bench.making import calls, results, row


def test_what_is_written_is_read_back() -> None:
    run = replace(
        results(Table("call", "Täble", 32, (row("bare", 1000.5, 2), row("full", 600, 1.25)))), left_out=("x",)
    )
    assert load(dump(run)) == run


def test_a_sample_is_one_line_of_the_file() -> None:
    lines = dump(calls(row("bare", 1000.0, 2000.0))).splitlines()
    assert len([line for line in lines if '"requests_per_second"' in line]) == 2


def test_a_file_of_another_version_is_refused() -> None:
    with pytest.raises(BenchFailed, match="measure again"):
        load('{"format": 0}')


def test_the_newest_is_the_one_that_was_taken_last(tmp_path: Path) -> None:
    earlier, later = calls(), replace(calls(), taken_at="2026-11-27T00:00:00+00:00")
    (tmp_path / "a.json").write_text(dump(later))
    (tmp_path / "b.json").write_text(dump(earlier))
    assert newest(tmp_path) == tmp_path / "a.json"


def test_without_results_the_command_that_makes_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match=r"python3 dev\.py bench"):
        newest(tmp_path)
