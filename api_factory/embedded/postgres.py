"""A PostgreSQL server as a child of this process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from api_factory.embedded import cluster
from api_factory.embedded.binaries import find_binaries
from api_factory.embedded.failure import EmbeddedPostgresFailed, unwritable
from api_factory.embedded.place import require_main_thread, require_private, socket_directory, try_lock

_PORT = 5432  # only a part of the socket's name: nothing listens on TCP
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_TEND_SECONDS = 5.0
_LOG_BYTES_KEPT = 10_000_000
_POLL_SECONDS = 0.02

_SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "listen_addresses": "",
    "lc_messages": "C",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",  # a DETAIL line would repeat the row's values
    "log_timezone": "UTC",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "unix_socket_permissions": "0700",
}


class EmbeddedPostgres:
    """One PostgreSQL per directory: the first process to start it owns it, the others attach to it.

    It listens on a Unix socket that only this user can reach, and ends with its owner, however that ends.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._data = self._directory / "data"
        self._log = self._directory / "postgres.log"
        self._socket = socket_directory(self._directory, f".s.PGSQL.{_PORT}")
        self._address = self._socket / f".s.PGSQL.{_PORT}"
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._owner_pid = 0

    @property
    def dsn(self) -> str:
        """The address of its ``postgres`` database; the same for one directory, known before the start."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket))}&port={_PORT}"

    def start(self) -> Literal["started", "attached"]:
        """Return once the server answers: ``started`` to its owner, ``attached`` to any other process.

        Call it from the main thread. Called again it repairs: it starts a server that has died, and takes
        over the directory of an owner that has ended.

        Raises:
            EmbeddedPostgresFailed: the server cannot be had; the message says why and what to do.
        """
        require_main_thread("PostgreSQL", EmbeddedPostgresFailed)
        deadline = time.monotonic() + _START_SECONDS
        is_owner = self._owner_pid == os.getpid()
        if is_owner and self._server is not None and self._becomes_ready(self._server, deadline):
            return "started"
        self._make_directories()
        while not self._take_lock():
            if cluster.is_ready(self._data, self._address):
                return "attached"
            if time.monotonic() > deadline:
                raise self._failure(
                    "is owned by another process, but does not answer.", "Restart that process."
                )
            time.sleep(_POLL_SECONDS)
        try:
            self._launch(deadline)
        except BaseException:
            self.stop()
            raise
        return "started"

    def tend(self) -> bool:
        """Start the server again if it has died or its owner has ended; tell whether that was so.

        It does not wait until the server answers. Call it again and again, from the main thread.

        Raises:
            EmbeddedPostgresFailed: the server cannot be started; the message says why and what to do.
        """
        require_main_thread("PostgreSQL", EmbeddedPostgresFailed)
        is_owner = self._owner_pid == os.getpid()
        if is_owner and self._server is not None and self._server.poll() is None:
            return False
        if not self._take_lock():
            return False
        try:
            self._spawn(self._prepare(time.monotonic() + _TEND_SECONDS))
        except OSError as error:
            raise unwritable(self._directory, error) from error
        return True

    def stop(self) -> None:
        """Shut the server down cleanly if this object started it; otherwise and a second time do nothing."""
        if self._owner_pid != os.getpid():  # a forked copy is not the owner
            return
        if self._server is not None:
            _shut_down(self._server)
            self._server = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _make_directories(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._socket.mkdir(mode=0o700, exist_ok=True)
            require_private(self._socket, self._directory, EmbeddedPostgresFailed)
        except OSError as error:
            raise unwritable(self._directory, error) from error

    def _take_lock(self) -> bool:
        if self._lock is not None and self._owner_pid == os.getpid():
            return True
        try:
            self._lock = try_lock(self._directory)
        except OSError as error:
            raise unwritable(self._directory, error) from error
        self._owner_pid = os.getpid() if self._lock is not None else self._owner_pid
        return self._lock is not None

    def _launch(self, deadline: float) -> None:
        try:
            programs = self._prepare(deadline)
            while not self._serve(programs, deadline):
                time.sleep(0.2)
        except OSError as error:
            raise unwritable(self._directory, error) from error

    def _prepare(self, deadline: float) -> cluster.Programs:
        programs = cluster.settle_programs(find_binaries(), self._directory, self._socket)
        cluster.prepare(programs, self._directory)
        cluster.end_predecessor(self._data, self._address, deadline)
        self._shorten_log()
        return programs

    def _spawn(self, programs: cluster.Programs) -> tuple[subprocess.Popen[bytes], int]:
        """Start the server; return it and where in the log its words begin."""
        with self._log.open("ab") as log:
            log_start = log.tell()
            self._server = subprocess.Popen(  # noqa: S603
                programs.command(self._directory, "postgres", *self._arguments()),
                env=cluster.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for the owner, who stops it in order
            )
        return self._server, log_start

    def _serve(self, programs: cluster.Programs, deadline: float) -> bool:
        """Start the server once; False says that what a dead one left behind is still going away."""
        server, log_start = self._spawn(programs)
        if self._becomes_ready(server, deadline):
            return True
        said = self._log.read_bytes()[log_start:].decode(errors="replace")
        if "still in use" in said and time.monotonic() < deadline:
            return False
        raise self._failure("ended while it started.", "See the lines below.")

    def _becomes_ready(self, server: subprocess.Popen[bytes], deadline: float) -> bool:
        while server.poll() is None:
            if cluster.is_ready(self._data, self._address):
                return True
            if time.monotonic() > deadline:
                raise self._failure(
                    f"did not answer within {_START_SECONDS:.0f} seconds.", "See the lines below."
                )
            time.sleep(_POLL_SECONDS)
        return False

    def _arguments(self) -> list[str]:
        settings = {**_SETTINGS, "unix_socket_directories": f'"{self._socket}"'}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return ["-D", str(self._data), "-p", str(_PORT), *options]

    def _shorten_log(self) -> None:
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES_KEPT:
            self._log.rename(self._log.with_suffix(".log.1"))

    def _failure(self, problem: str, fix: str) -> EmbeddedPostgresFailed:
        try:
            log = self._log.read_text(errors="replace")
        except OSError:
            log = ""
        return EmbeddedPostgresFailed(f"The embedded PostgreSQL in {self._directory} {problem}", fix, log)


def _shut_down(server: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGINT, signal.SIGQUIT):  # fast and clean; then at once, to recover at the next start
        server.send_signal(how)
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
    server.kill()
    server.wait()
