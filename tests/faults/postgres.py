"""A PostgreSQL server of the tests' own, to be killed, frozen, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import asyncpg

from api_factory.embedded import cluster
from api_factory.embedded.binaries import find_binaries
from tests.faults.waiting import START_SECONDS, until

PORT = 5432  # a part of the socket's name only: it listens on no network

_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "synchronous_commit": "on",
    "fsync": "on",
    "timezone": "UTC",
    "log_checkpoints": "off",
    # When a transaction has committed, by the clock of the database: what a revoke is judged by.
    "track_commit_timestamp": "on",
}


def family(pid: int, program: str = "") -> list[int]:
    """Return the ids of a process's children that run a program, as the system knows them now."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return sorted(int(row[0]) for row in rows if int(row[1]) == pid and program in row[-1])


class Postgres:
    """One server in a directory, as a child of this process; its data survive whatever is done to it."""

    def __init__(self, directory: Path) -> None:
        """Take a short path, for a socket lies there."""
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "postgres.log"
        self._address = directory / "sock" / f".s.PGSQL.{PORT}"
        self._server: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{database}?host={quote(str(self._address.parent))}&port={PORT}"

    @property
    def is_running(self) -> bool:
        """Tell whether the server is there and answers at its socket."""
        alive = self._server is not None and self._server.poll() is None
        return alive and cluster.is_ready(self.data, self._address)

    async def start(self) -> None:
        """Start it, on the data it had; return when it answers."""
        self._address.parent.mkdir(mode=0o700, exist_ok=True)
        programs = cluster.settle_programs(find_binaries(), self.directory, self._address.parent)
        cluster.prepare(programs, self.directory)
        await until(lambda: self._start_once(programs), "PostgreSQL starts", seconds=START_SECONDS)
        await until(self._answers, "PostgreSQL answers", seconds=START_SECONDS)

    def kill(self) -> None:
        """End the postmaster without a warning; its children notice."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shut it down as an administrator would: connections are cut."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End it as a crash does, children first and without a checkpoint; nothing of it is left."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> list[int]:
        """Stop every process of it in its tracks, connections open; return whom to `thaw`."""
        assert self._server is not None
        pids = [self._server.pid]
        os.kill(self._server.pid, signal.SIGSTOP)  # first: from now on no child is born
        for child in family(self._server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
                pids.append(child)
        return pids

    @staticmethod
    def thaw(pids: list[int]) -> None:
        """Let them go on; the parent last, so that none of them can have been replaced."""
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.send_signal(how)
            server.wait()

    def _start_once(self, programs: cluster.Programs) -> bool:
        """Start unless it runs; False while children of a killed one are still going away."""
        if self._server is None or self._server.poll() is not None:
            self._clear_traces()
            options = [f"--{name}={value}" for name, value in _OPTIONS.items()]
            argv = ["-D", str(self.data), "-k", str(self._address.parent), "-p", str(PORT), *options]
            with self.log.open("ab") as log:
                self._server = subprocess.Popen(
                    programs.command(self.directory, "postgres", *argv),
                    env=cluster.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        return cluster.is_ready(self.data, self._address)

    def _clear_traces(self) -> None:
        self._address.with_name(self._address.name + ".lock").unlink(missing_ok=True)
        self._address.unlink(missing_ok=True)

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn(), timeout=5)
        except (TimeoutError, OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True
