"""The directory of an embedded server: who owns it, and where its socket is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import sys
import tempfile
import threading
from pathlib import Path

from api_factory.embedded.failure import EmbeddedServerFailed

_SOCKET_PATH_BYTES = 103  # the shortest limit of the supported systems (macOS)


def socket_directory(directory: Path, name: str) -> Path:
    """Return where the server of ``directory`` has its socket ``name``; the same for every process."""
    inside = directory / "sock"
    is_short = len(os.fsencode(inside / name)) <= _SOCKET_PATH_BYTES
    if is_short and "," not in str(inside):  # a comma would part two hosts
        return inside
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()).resolve() / f"api-factory-{digest}"


def require_private(socket: Path, directory: Path, failed: type[EmbeddedServerFailed]) -> None:
    """Raise the failure when others than this user can reach the directory of the socket."""
    # Its name in the temporary directory is no secret: somebody else may have made it first.
    found, owners = socket.lstat(), {os.geteuid()}
    if os.geteuid() == 0:
        owners.add(directory.stat().st_uid)
    if stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & 0o077:
        return
    raise failed(f"{socket} is open to other users.", f"Remove it, or chmod it to 0700: {socket}")


def require_main_thread(server: str, failed: type[EmbeddedServerFailed]) -> None:
    """Raise the failure in any other thread, where the server's life could not be tied to the process."""
    if sys.platform == "linux" and threading.current_thread() is not threading.main_thread():
        # The kernel ends the child with the thread that spawned it, not only with the process.
        raise failed(f"The embedded {server} was started in a thread.", "Start it in the main thread.")


def try_lock(directory: Path) -> int | None:
    """Own the directory until the returned file is closed or this process ends; None if another owns it."""
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
