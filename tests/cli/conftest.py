"""The command in this process, quick, and as a process of its own, real."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from api_factory.cli import command

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60

Run = Callable[..., "Outcome"]
Spawn = Callable[..., "Served"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command said and how it ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one line of JSON on stdout."""
        (line,) = self.stdout.splitlines()
        return json.loads(line)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: pytest's own are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="af-cli-") as made:
        yield Path(made).resolve()


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """The environment of a user with nothing set but where his files are; no database is named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("API_FACTORY_")}
    for name in ("DATABASE_URL", "STRIPE_API_KEY", "STRIPE_API_BASE", "STRIPE_WEBHOOK_SECRET"):
        kept.pop(name, None)
    return {**kept, "API_FACTORY_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}


@pytest.fixture
def here(folder: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command in this process, at a migrated database of this test."""
    monkeypatch.setenv("DATABASE_URL", fresh_database_url)
    monkeypatch.setenv("API_FACTORY_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("API_FACTORY_ACTIONS", "")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(*arguments: str) -> Outcome:
        result = CliRunner().invoke(command, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def apart(environment: dict[str, str], folder: Path) -> Run:
    """Run a command as a process of its own."""

    def run(*arguments: str, **variables: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "api_factory.cli", *arguments],
            env={**environment, **variables},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


class Served:
    """A server that was started by the command."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child

    def line(self) -> str:
        """The next line on stdout; a server that is ready prints one."""
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            _, said = self.child.communicate(timeout=START_SECONDS)
            pytest.fail(f"the server ended with {self.child.returncode}: {said}")
        return line

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Outcome:
        """Send a signal and wait for the end."""
        self.child.send_signal(number)
        return self.end()

    def end(self) -> Outcome:
        """Wait for the end."""
        stdout, stderr = self.child.communicate(timeout=START_SECONDS)
        return Outcome(self.child.returncode, stdout, stderr)


@pytest.fixture
def spawn(environment: dict[str, str], folder: Path) -> Iterator[Spawn]:
    """Start a server on a free port; it is killed at the end, should it still run."""
    children: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> Served:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "api_factory.cli", *arguments],
            env={**environment, **variables},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return Served(child)

    yield start
    for child in children:
        child.kill()
        child.communicate()
