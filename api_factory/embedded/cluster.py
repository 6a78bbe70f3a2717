"""The data directory of the embedded PostgreSQL: its making, its version and its current server."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from api_factory.embedded import privileges
from api_factory.embedded.failure import EmbeddedPostgresFailed

_PROBE_SECONDS = 30
_INITDB_SECONDS = 180
_BUILTIN_LOCALES_SINCE = 17
_STATUS_LINE = 7  # of postmaster.pid, counted from 0


@dataclass(frozen=True, slots=True)
class Programs:
    """PostgreSQL programs that were seen to run as ``identity``; ``major`` is their version, 18 for 18.6."""

    binaries: Path
    identity: str
    major: int

    def command(self, directory: Path, program: str, *arguments: str) -> list[str]:
        """Return the command line that runs ``program`` in ``directory``."""
        return privileges.command(self.identity, directory, [str(self.binaries / program), *arguments])


def environment() -> dict[str, str]:
    """Return this process's environment without what would steer PostgreSQL from outside."""
    steering = ("PG", "LC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return {**kept, "LANG": "C", "TZ": "UTC"}


def settle_programs(binaries: Path, directory: Path, socket_directory: Path) -> Programs:
    """Return programs and an identity that work together for ``directory``, giving it to that identity.

    Raises:
        EmbeddedPostgresFailed: no identity can both run the programs and write to the directory.
    """
    said: list[str] = []
    for identity in privileges.candidates(directory):
        privileges.give(identity, [directory, socket_directory])
        complaint, major = _probe(binaries, identity, directory)
        if major is not None:
            return Programs(binaries, identity, major)
        said.append(complaint)
    raise EmbeddedPostgresFailed(
        f"PostgreSQL from {binaries} does not run for {directory}.",
        "Start as the user who owns it, set API_FACTORY_DATA_DIR to a directory that other users can reach, "
        "or set DATABASE_URL to a server.",
        "\n".join(said),
    )


def _probe(binaries: Path, identity: str, directory: Path) -> tuple[str, int | None]:
    argv = privileges.command(identity, directory, [str(binaries / "postgres"), "--version"])
    done = subprocess.run(  # noqa: S603
        argv, env=environment(), capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
    )
    if done.returncode != 0:
        return done.stderr.strip(), None
    return "", int(done.stdout.split()[2].split(".")[0])  # "postgres (PostgreSQL) 18.6"


def prepare(programs: Programs, directory: Path) -> None:
    """Make sure that ``directory/data`` is a whole data directory of the programs' version.

    It is made beside its place and renamed, so that an interrupted making is never taken for a database.

    Raises:
        EmbeddedPostgresFailed: it is another version's, something else, or cannot be made.
    """
    data = directory / "data"
    try:
        made_by = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        _create(programs, directory)
        return
    if made_by != str(programs.major):
        raise EmbeddedPostgresFailed(
            f"{data} was made by PostgreSQL {made_by}, but the programs are those of {programs.major}.",
            f"Set API_FACTORY_POSTGRES_BIN to the bin directory of a PostgreSQL {made_by}, "
            f"or move {directory} away to start with an empty database.",
        )


def _create(programs: Programs, directory: Path) -> None:
    data, draft = directory / "data", directory / "data.new"
    if data.exists():
        raise EmbeddedPostgresFailed(f"{data} exists, but is no PostgreSQL data directory.", "Move it away.")
    shutil.rmtree(draft, ignore_errors=True)
    options = [
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--data-checksums",
        "--no-instructions",
    ]
    argv = programs.command(
        directory, "initdb", f"--pgdata={draft}", *options, *_locale_options(programs.major)
    )
    done = subprocess.run(  # noqa: S603
        argv, env=environment(), capture_output=True, text=True, timeout=_INITDB_SECONDS, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise EmbeddedPostgresFailed(
            f"initdb could not make a database in {directory}.",
            "Free some space, set API_FACTORY_DATA_DIR to another directory, or DATABASE_URL to a server.",
            done.stdout + done.stderr,
        )
    draft.rename(data)
    _sync_directory(directory)


def _locale_options(major: int) -> list[str]:
    if major >= _BUILTIN_LOCALES_SINCE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C", "--lc-messages=C"]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_ready(data: Path, address: Path) -> bool:
    """Tell whether the server of ``data`` says that it is ready and answers at the socket ``address``."""
    lines = _pid_lines(data)
    if len(lines) <= _STATUS_LINE or lines[_STATUS_LINE].strip() != "ready":
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


def is_server(pid: int, data: Path) -> bool:
    """Tell whether ``pid`` is a live server of ``data``, not a zombie or a later user of the number."""
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")  # empty for a zombie
        except OSError:
            return False
        return os.fsencode(data) in words
    return f" {data} " in _shown_by_ps(pid)


def _shown_by_ps(pid: int) -> str:  # pragma: no cover - macOS has no /proc
    ps = ["/bin/ps", "-p", str(pid), "-o", "command="]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout  # noqa: S603


def end_predecessor(data: Path, address: Path, deadline: float) -> None:
    """Wait until the server that an ended owner left behind has shut down, and clear its traces away.

    The caller holds the directory's lock, so a server that still runs here has lost its owner.
    """
    lines = _pid_lines(data)
    if not lines:
        return
    pid = int(lines[0])
    while is_server(pid, data):
        if time.monotonic() > deadline:
            raise EmbeddedPostgresFailed(
                f"An earlier PostgreSQL of {data} does not end.", f"Run: kill -9 {pid}"
            )
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        time.sleep(0.05)
    address.with_name(address.name + ".lock").unlink(missing_ok=True)
    if lines := _pid_lines(data):
        # A zombie, or another program under the same number, would make PostgreSQL refuse to start. Its own
        # parent's number does not; and the rest of the file must stay, for from it PostgreSQL knows whether
        # children of the dead server still use the shared memory.
        (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")


def _pid_lines(data: Path) -> list[str]:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []
    return lines if lines and lines[0].strip().isdigit() else []
