"""`api-factory serve`: the database, the migrations, the server, and back in that order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from api_factory.cli import output
from api_factory.cli.session import actions_option, database_turn, prepared_settings
from api_factory.cli.stopping import Stop
from api_factory.errors import ConfigurationError

if TYPE_CHECKING:
    from api_factory.actions import Catalogue
    from api_factory.cli.greeting import Opening
    from api_factory.settings import Settings
    from api_factory.wiring import Engine

WORKERS_VARIABLE = "API_FACTORY_WORKERS"

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound
_BACKLOG = 2048
_MOST_WORKERS = 64

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Prepare = Callable[["Engine", str], Awaitable["Opening"]]


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve: the address, the number of processes, and the modules of actions named besides."""

    host: str
    port: int
    workers: int
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Start:
    """What a start has at hand: the socket, the options, what they come to, and the care for the database."""

    listener: socket.socket
    options: Options
    settings: Settings
    catalogue: Catalogue
    tend: Callable[[], None]


def serve_options(function: Decorated) -> Decorated:
    """Give a command the options of a server."""
    count = click.IntRange(1, _MOST_WORKERS)
    for option in (
        output.json_option,
        actions_option,
        click.option("--workers", default=1, show_default=True, type=count, help="How many processes."),
        click.option(
            "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: a free one."
        ),
        click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: all of this machine."),
    ):
        function = option(function)
    return function


@click.command("serve")
@serve_options
@click.pass_context
def serve_command(
    context: click.Context, host: str, port: int, workers: int, modules: tuple[str, ...]
) -> None:
    """Serve the API until SIGINT or SIGTERM; requests under way end first, a second signal ends at once."""

    async def prepare(engine: Engine, url: str) -> Opening:
        from api_factory.cli.greeting import Opening

        return Opening()

    context.exit(run(Options(host, port, workers, modules), prepare))


class Companion(Protocol):
    """A process beside the server: begun before it, tended while it serves, ended after it."""

    def begin(self, settings: Settings) -> Settings:
        """Start, and return the settings as they are then."""

    def tend(self) -> None:
        """Look after the process; called often."""

    def end(self) -> None:
        """Stop, whether or not it began."""


def run(
    options: Options,
    prepare: Prepare,
    *,
    check: Callable[[Settings], None] | None = None,
    companion: Companion | None = None,
) -> int:
    """Serve until a signal asks to stop, and return the exit code.

    `prepare` runs on an open engine before the first request; `check` may refuse the settings.
    """
    from api_factory.actions import Catalogue
    from api_factory.cli.shadows import refuse_shadows

    stop = Stop()
    try:
        settings = prepared_settings(options.modules)
        refuse_shadows()
        if check is not None:
            check(settings)
        with _listener(options.host, options.port) as listener:
            catalogue = Catalogue.load(settings.actions)
            with _beside(companion, settings) as (settings, look_after), _database(settings) as tend:

                def tend_all() -> None:
                    tend()
                    look_after()

                return _serve(_Start(listener, options, settings, catalogue, tend_all), prepare, stop)
    except KeyboardInterrupt:  # stopped while it started
        return 0


def url_of(host: str, port: int) -> str:
    """Return where a server that listens there can be reached from this machine."""
    reachable = _ANY_ADDRESS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _serve(start: _Start, prepare: Prepare, stop: Stop) -> int:
    from api_factory.cli.greeting import compose
    from api_factory.cli.readiness import ReadinessWatch

    os.environ[WORKERS_VARIABLE] = str(start.options.workers)
    url = url_of(start.options.host, start.listener.getsockname()[1])
    opening = asyncio.run(_prepare(start, prepare, url))
    greeting = compose(url, opening, _headline(start), start.settings)
    is_ready = threading.Event()

    def announce() -> None:
        is_ready.set()
        greeting.say()

    with ReadinessWatch(url, announce):
        if start.options.workers == 1:
            code = _serve_here(start, stop)
        else:
            code = _serve_by_workers(start, stop, is_ready)
    if code:
        output.talk(
            "Error: the server could not start; the lines above say why, and so may `api-factory doctor`."
        )
    return 1 if code else 0


def _serve_here(start: _Start, stop: Stop) -> int:
    from api_factory.cli import worker

    return worker.serve(start.listener, start.settings, stop, start.tend)


def _serve_by_workers(start: _Start, stop: Stop, is_ready: threading.Event) -> int:
    from api_factory.cli.counters import shared_counters
    from api_factory.cli.supervisor import Supervisor
    from api_factory.metrics import prepare_multiprocess

    grace_seconds = start.settings.shutdown_grace_seconds
    with (
        shared_counters(start.settings) as look_after_counters,
        tempfile.TemporaryDirectory(prefix="api-factory-metrics-") as directory,
    ):

        def tend() -> None:
            start.tend()
            look_after_counters()

        supervisor = Supervisor(start.listener, start.options.workers, grace_seconds, is_ready, tend)
        stop.on_ask(supervisor.ask_to_exit)
        prepare_multiprocess(Path(directory))
        return supervisor.run()


async def _prepare(start: _Start, prepare: Prepare, url: str) -> Opening:
    from api_factory.wiring import build_engine

    engine = build_engine(start.settings, catalogue=start.catalogue)
    try:
        await engine.open(background=False)
        return await prepare(engine, url)
    finally:
        await engine.close()


def _headline(start: _Start) -> str:
    workers, actions = start.options.workers, len(start.catalogue)
    processes = "1 worker" if workers == 1 else f"{workers} workers"
    offered = "1 action" if actions == 1 else f"{actions} actions"
    return f"{start.settings.env}, {processes}, {offered}"


@contextlib.contextmanager
def _beside(companion: Companion | None, settings: Settings) -> Iterator[tuple[Settings, Callable[[], None]]]:
    if companion is None:
        yield settings, lambda: None
        return
    try:
        yield companion.begin(settings), companion.tend
    finally:
        companion.end()


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[Callable[[], None]]:
    """Have the database of the settings, and yield what keeps an embedded one running."""
    from api_factory.cli.keeping import Keeper
    from api_factory.embedded import EmbeddedPostgres

    if not settings.uses_embedded_database:
        yield lambda: None
        return
    output.talk("Starting the embedded PostgreSQL …")
    with contextlib.ExitStack() as stack:
        with database_turn(settings):
            postgres = stack.enter_context(EmbeddedPostgres(settings.embedded_directory))
        yield Keeper(postgres).tend


@contextlib.contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    """Take the address before anything else is started; who connects meanwhile waits for the answer."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigurationError(f"--host {host} is no address ({error.strerror}); try 127.0.0.1.") from error
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise ConfigurationError(_why_not_taken(host, port, error)) from error
        yield listener


def _why_not_taken(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is taken; name another with --port, or --port 0 for a free one."
    if error.errno == errno.EACCES:
        return f"This user may not open port {port}; name one from 1024 with --port, such as 8000."
    return f"--host {host} is no address of this machine ({error.strerror}); try 127.0.0.1 or 0.0.0.0."
