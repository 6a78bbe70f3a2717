"""A child's life tied to its parent's: it ends when the parent has ended, however that came about."""

from __future__ import annotations

import os
import signal
import threading
import time

_LOOK_SECONDS = 0.5


def end_with_parent(pid: int) -> None:
    """Ask this process to end, by SIGTERM, as soon as that process is no longer its parent."""

    def watch() -> None:
        while os.getppid() == pid:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
