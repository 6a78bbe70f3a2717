"""The server of one process: in the command itself, or as one of several workers that it starts."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import uvicorn

from api_factory import log
from api_factory.cli import output
from api_factory.cli.stopping import Stop
from api_factory.errors import ApiFactoryError
from api_factory.settings import Settings, load_settings

APPLICATION = "api.app:create_app"
GC_THRESHOLDS = (50_000, 20, 50)
START_FAILED = 3
"""The exit code of a worker that could not start: another one would fail alike."""


class _Server(uvicorn.Server):
    """Uvicorn's server with the signals left to us: its own raises them again when it has ended."""

    def __init__(self, config: uvicorn.Config, tend: Callable[[], None]) -> None:
        super().__init__(config)
        self._tend = tend

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there now stays: the collector need not look at it again and again, and what a request
        # leaves is rarely a cycle. A tenth of the time of a busy worker.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        self._tend()
        return await super().on_tick(counter)

    def ask_to_exit(self) -> None:
        self.should_exit = True


def serve(
    listener: socket.socket, settings: Settings, stop: Stop, tend: Callable[[], None] = lambda: None
) -> int:
    """Serve the application on a bound socket until asked to stop; return the exit code.

    Meanwhile `tend` is called ten times a second, in this thread.

    Requests under way end first, within the grace of the settings; then the engine is closed.

    Raises:
        ConfigurationError: Settings or actions keep the application from being built.
    """
    log.configure(settings.effective_log_format, settings.log_level)
    log.gather_request_lines(settings.effective_log_format)
    if settings.log_level != "debug":  # uvicorn's steps; the greeting says that they are done
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = _Server(
        uvicorn.Config(
            APPLICATION,
            factory=True,
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the application believes only the proxies of its settings
            timeout_graceful_shutdown=settings.shutdown_grace_seconds,
        ),
        tend,
    )
    stop.on_ask(server.ask_to_exit)
    try:
        server.run(sockets=[listener])
    except SystemExit:  # uvicorn's word for a start that failed; it has logged why
        return START_FAILED
    return 0


def main() -> None:
    """Serve as one of several workers: `python -m api_factory.cli.worker LISTENER LIFELINE`.

    Both are numbers of open files: the socket that all workers share, and the reading end of a pipe that
    only the parent could write to. When the parent is gone, however it ended, the worker ends too.
    """
    listener, lifeline = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes on one
    stop = Stop((signal.SIGTERM,))
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    try:
        sys.exit(serve(socket.socket(fileno=listener), load_settings(), stop))
    except ApiFactoryError as error:
        output.talk(f"Error: {error.message}")
        sys.exit(START_FAILED)
    except KeyboardInterrupt:
        sys.exit(0)


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when the pipe is closed, and nobody writes to it
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
