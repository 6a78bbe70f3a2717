"""The command says what there is, refuses what there is not, and keeps parts of a run apart."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from bench import __main__ as command
from bench.environments import LOCAL


@pytest.fixture(autouse=True)
def _restored_signal() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    return command.main()


def test_the_list_names_every_table_and_contender(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "list: A list of 50 x 5 fields, 32 connections" in lines
    assert [line.split()[0] for line in lines if line.endswith("everything on")] == [
        "full",
        "full",
        "full-list",
    ]


def test_a_name_that_nobody_has_ends_it_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--only", "nobody") == 1
    assert capsys.readouterr().err.startswith("Error: Nothing is called 'nobody'. There are: ")


def test_who_is_not_there_is_not_held_under_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--hold", "nobody") == 1
    assert capsys.readouterr().err == "Error: No contender is called 'nobody'; --list names them.\n"


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_no_rounds_are_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, f"--rounds={count}")
    assert "give a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "place"),
    [((), command.KEPT), (("--quick",), LOCAL / "results"), (("--only", "full"), LOCAL / "results")],
)
def test_only_a_whole_run_is_written_among_the_whole_ones(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], place: object
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    assert command._place(command._options()) == place
