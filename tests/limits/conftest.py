"""Stores to count in: a Redis, a Valkey that can be killed, a cluster, and one behind a Sentinel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from api_factory.embedded import EmbeddedValkey, find_valkey
from api_factory.limits import RedisBackend, address, open_wire, wires
from api_factory.limits import redis as redis_backend
from tests.faults.serving import free_port

Open = Callable[[str], RedisBackend]
PATIENCE_SECONDS = 10.0


def have_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no stall of a busy machine pass for an outage of the store."""
    monkeypatch.setattr(redis_backend, "DECISION_SECONDS", PATIENCE_SECONDS)
    for module in (wires, address):
        monkeypatch.setattr(module, "CONNECT_SECONDS", PATIENCE_SECONDS)
        monkeypatch.setattr(module, "EXCHANGE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test counts does not depend on how fast the store answers, unless it says so."""
    if "impatient" not in request.fixturenames:
        have_patience(monkeypatch)


@pytest.fixture
def impatient() -> None:
    """Say that a test is about a store that is silent for longer than a call may wait."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: pytest's own are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="af-") as made:
        yield Path(made)


@pytest.fixture
def name() -> str:
    """A subject nobody else counts."""
    return f"account:{secrets.token_hex(8)}"


class Server:
    """A Valkey of one test, which may be killed and started again at the same address."""

    def __init__(self, directory: Path) -> None:
        self._valkey = EmbeddedValkey(directory)
        self.url = self._valkey.url

    def start(self) -> None:
        self._valkey.start()

    def kill(self) -> None:
        """End it as an accident does; what it had counted is gone."""
        server = self._valkey._server
        assert server is not None
        server.kill()
        server.wait()

    def pause(self) -> None:
        """Let it be silent: it takes connections, and answers nothing."""
        assert self._valkey._server is not None
        os.kill(self._valkey._server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._valkey._server is not None
        os.kill(self._valkey._server.pid, signal.SIGCONT)

    def stop(self) -> None:
        self._valkey.stop()

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    made = Server(folder / "valkey")
    made.start()
    yield made
    with contextlib.suppress(AssertionError, ProcessLookupError):
        made.resume()
    made.stop()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="af-") as made, EmbeddedValkey(Path(made)) as valkey:
        yield valkey.url


@pytest.fixture(params=["redis", "valkey"])
def store_url(request: pytest.FixtureRequest, redis_url: str, valkey_url: str) -> str:
    """Each of the two kinds of server."""
    return {"redis": redis_url, "valkey": valkey_url}[request.param]


@pytest.fixture
async def connect() -> AsyncIterator[Open]:
    """Make backends that are closed at the end."""
    made: list[RedisBackend] = []

    def connect(url: str) -> RedisBackend:
        made.append(RedisBackend(open_wire(url)))
        return made[-1]

    yield connect
    for backend in made:
        await backend.close()


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """A cluster of one server, which refuses scripts whose keys are not in one slot as any cluster does."""
    with tempfile.TemporaryDirectory(prefix="af-") as made:
        port, bus = free_port(), free_port()
        options = ["--port", str(port), "--cluster-enabled", "yes", "--cluster-port", str(bus)]
        with running(Path(made), port, *options) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
            yield f"redis+cluster://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def sentinel_url() -> Iterator[str]:
    """A server behind a Sentinel that watches it."""
    with tempfile.TemporaryDirectory(prefix="af-") as made:
        port, watch = free_port(), free_port()
        folder = Path(made)
        (folder / "sentinel.conf").write_text(f"port {watch}\nsentinel monitor limits 127.0.0.1 {port} 1\n")
        with (
            running(folder, port, "--port", str(port)),
            running(folder, watch, "--sentinel", configuration=folder / "sentinel.conf"),
        ):
            yield f"redis+sentinel://127.0.0.1:{watch}/limits"


@contextlib.contextmanager
def running(
    folder: Path, port: int, *options: str, configuration: Path | None = None
) -> Iterator[redis.Redis]:
    """Run a server with options of its own; yields a client once it answers."""
    first = [str(configuration)] if configuration else ["--save", "", "--dir", str(folder)]
    child = subprocess.Popen([find_valkey(), *first, *options], stdout=subprocess.DEVNULL)
    with redis.Redis(port=port) as client:
        try:
            wait_until(lambda: answers(client))
            yield client
        finally:
            child.kill()
            child.wait()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "did not happen within 30 seconds"
        time.sleep(0.02)


@dataclass
class Proxy:
    """Passes bytes on to a server, and remembers what arrived as one piece."""

    url: str
    writes: list[bytes] = field(default_factory=list)
    connections: int = 0


@pytest.fixture
async def proxy(server: Server, folder: Path) -> AsyncIterator[Proxy]:
    """A socket in front of the server on which the writes of a client can be counted."""
    path = folder / "proxy.sock"
    proxy = Proxy(f"unix://{path}")
    tasks: set[asyncio.Task[None]] = set()

    async def pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, seen: list[bytes] | None
    ) -> None:
        try:
            while piece := await source.read(1 << 20):
                if seen is not None:
                    seen.append(piece)
                sink.write(piece)
        finally:
            sink.close()
            with contextlib.suppress(OSError):
                await sink.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        onward = await asyncio.open_unix_connection(server.url.removeprefix("unix://"))
        tasks.add(asyncio.create_task(pump(reader, onward[1], proxy.writes)))
        tasks.add(asyncio.create_task(pump(onward[0], writer, None)))

    listener = await asyncio.start_unix_server(serve, path, limit=1 << 20)
    yield proxy
    listener.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
