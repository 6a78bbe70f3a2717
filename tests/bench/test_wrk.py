"""What wrk saw is read whole, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.failure import BenchFailed
from bench.wrk import Load, find_wrk, parse_output

SAID = """\
Running 4s test @ http://127.0.0.1:8000
  1 threads and 32 connections
  23901 requests in 4.00s, 6.21MB read
RESULT {"requests": 23901, "microseconds": 4002100, "refused": 1, "broken": 2, "late": 3, \
"p50_us": 5012, "p99_us": 14020}
"""


def test_the_line_of_the_script_is_read() -> None:
    load = parse_output(SAID)
    assert load == Load(23901, 4.0021, refused=1, broken=2, late=3, p50_us=5012, p99_us=14020)


def test_what_was_refused_is_not_answered() -> None:
    assert parse_output(SAID).answered == 23900


def test_a_run_without_that_line_is_a_failure_with_the_words_of_wrk() -> None:
    with pytest.raises(BenchFailed, match=r"wrk measured nothing: unable to connect to 127\.0\.0\.1"):
        parse_output("", "unable to connect to 127.0.0.1:1\n")


def test_without_wrk_the_line_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchFailed, match="apt-get install wrk"):
        find_wrk()
