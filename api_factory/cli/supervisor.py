"""Several workers on one socket: started, replaced when they die, and ended together."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import api_factory
from api_factory.cli.worker import START_FAILED
from api_factory.metrics import mark_process_dead

LOGGER = logging.getLogger("api_factory.workers")

_HOME = Path(api_factory.__file__).resolve().parent.parent
_POLL_SECONDS = 0.1
_RESTART_SECONDS = 1.0
_MARGIN_SECONDS = 10.0


class Supervisor:
    """Keeps `count` workers serving until it is asked to stop."""

    def __init__(
        self,
        listener: socket.socket,
        count: int,
        grace_seconds: float,
        has_served: threading.Event,
        tend: Callable[[], None],
    ) -> None:
        """Share a socket; `grace_seconds` is how long a worker may take to end its requests.

        While it runs it calls `tend` ten times a second, in its thread.
        """
        self._listener = listener
        self._count = count
        self._grace_seconds = grace_seconds
        self._lifeline, self._held = os.pipe()
        self._workers: list[subprocess.Popen[bytes]] = []
        self._is_asked = False
        self._has_served = has_served
        self._tend = tend

    def ask_to_exit(self) -> None:
        """Make `run` end its workers and return."""
        self._is_asked = True

    def run(self) -> int:
        """Start the workers and replace those that die; return the exit code when all have ended.

        One that ends before any has served ends the whole: another would fail alike. Later it is replaced,
        so that an outage of the database cannot end the server for good.
        """
        self._workers = [self._start() for _ in range(self._count)]
        try:
            while not self._is_asked:
                if self._has_dead() and not self._has_served.is_set():
                    return START_FAILED
                self._tend()
                self._replace_dead()
                time.sleep(_POLL_SECONDS)
            return 0
        finally:
            self._end_all()

    def _start(self) -> subprocess.Popen[bytes]:
        passed = (self._listener.fileno(), self._lifeline)
        # -P and our own place first: no folder of the working directory is taken for a package of ours.
        argv = [sys.executable, "-P", "-m", "api_factory.cli.worker", *map(str, passed)]
        places = [str(_HOME), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        return subprocess.Popen(  # noqa: S603 - our own module
            argv, pass_fds=passed, env=variables, stdout=subprocess.DEVNULL
        )

    def _has_dead(self) -> bool:
        return any(worker.poll() is not None for worker in self._workers)

    def _replace_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.poll() is None:
                continue
            mark_process_dead(worker.pid)
            LOGGER.warning("worker %d ended with %d; starting another", worker.pid, worker.returncode)
            time.sleep(_RESTART_SECONDS)
            self._workers[place] = self._start()

    def _end_all(self) -> None:
        for worker in self._workers:
            worker.terminate()
        deadline = time.monotonic() + self._grace_seconds + _MARGIN_SECONDS
        for worker in self._workers:
            try:
                worker.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                LOGGER.warning("worker %d did not end in time and is killed", worker.pid)
                worker.kill()
                worker.wait()
        os.close(self._held)
        os.close(self._lifeline)
