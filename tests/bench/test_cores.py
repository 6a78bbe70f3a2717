"""CPU time is that of a whole family of processes, and cores are told apart."""

from __future__ import annotations

import os
from pathlib import Path

from bench.cores import Used, cores_used, family_seconds

TICKS = os.sysconf("SC_CLK_TCK")


def add(proc: Path, pid: int, parent: int, seconds: float, name: str = "python") -> None:
    directory = proc / str(pid)
    directory.mkdir(parents=True)
    ticks = round(seconds * TICKS)
    (directory / "stat").write_text(
        f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 0 0 0 0 {ticks} {ticks} 0 0 20 0 1 0 1"
    )


def test_children_and_their_children_count_and_nobody_else(tmp_path: Path) -> None:
    add(tmp_path, 10, 1, 1)
    add(tmp_path, 11, 10, 2, name="a (very) odd name)")
    add(tmp_path, 12, 11, 4)
    add(tmp_path, 13, 1, 100)
    (tmp_path / "uptime").write_text("1 1")
    assert family_seconds(10, tmp_path) == 2 * (1 + 2 + 4)


def test_who_is_gone_has_spent_nothing(tmp_path: Path) -> None:
    assert family_seconds(99, tmp_path) == 0.0


def test_a_core_is_busy_unless_it_idles_waits_or_was_taken_away(tmp_path: Path) -> None:
    parts = [each * TICKS for each in (1, 2, 3, 50, 60, 4, 5, 7)]
    line = " ".join(map(str, parts))
    (tmp_path / "stat").write_text(f"cpu  {line} 0 0\ncpu0 {line} 0 0\ncpu1 {line} 0 0\nintr 1\n")
    assert cores_used({0}, tmp_path) == Used(busy=15.0, stolen=7.0)
    assert cores_used({0, 1}, tmp_path) == Used(busy=30.0, stolen=14.0)
