"""A contender is a real process: it is started, it must answer right, and it has ended afterwards."""

from __future__ import annotations

import os
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from bench.contenders import UVICORN_OPTIONS
from bench.cores import Cores
from bench.environments import ROOT
from bench.failure import BenchFailed
from bench.requests import CALL
from bench.servers import PORT, Program, Served, free_port

CORES = Cores(frozenset({0}), frozenset({0}))


def served(directory: Path, application: str = "tests.bench.tiny_app:app", **variables: str) -> Served:
    keys = directory / "keys.txt"
    keys.write_text("known\nanother\n")
    program = Program(
        "tiny",
        (sys.executable, "-m", "uvicorn", application, *UVICORN_OPTIONS),
        directory,
        keys,
        {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TINY": "right", **variables},
    )
    return Served(program, CORES, directory / "tiny.log")


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_it_answers_while_the_block_runs_and_has_ended_after(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert answers(server.url)
        pid = server.pid
        assert Path(f"/proc/{pid}").exists() or sys.platform != "linux"
    assert not answers(server.url)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_has_ended_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), served(tmp_path) as server:
        raise ZeroDivisionError
    assert not answers(server.url)


def test_who_answers_right_and_refuses_unknown_keys_passes(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        server.check(CALL, is_guarded=True)


def test_who_answers_something_else_is_not_measured(tmp_path: Path) -> None:
    with (
        served(tmp_path, TINY="wrong") as server,
        pytest.raises(BenchFailed, match=r'tiny answers 200 and \{"data'),
    ):
        server.check(CALL, is_guarded=True)


def test_who_lets_everybody_in_is_not_measured(tmp_path: Path) -> None:
    with served(tmp_path, TINY="open") as server:
        server.check(CALL, is_guarded=False)
        with pytest.raises(BenchFailed, match="answers an unknown key with 200, not 401"):
            server.check(CALL, is_guarded=True)


def test_who_cannot_start_is_named_with_his_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchFailed, match=r"(?s)tiny ended while it started\..*nowhere"),
        served(tmp_path, "nowhere:app"),
    ):
        pass


def test_a_free_port_is_one_that_can_be_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))


def test_the_port_is_put_where_the_program_wants_it(tmp_path: Path) -> None:
    with served(tmp_path, ELSEWHERE=f"on {PORT}") as server:
        assert server._filled(f"on {PORT}") == f"on {server.url.rpartition(':')[2]}"
