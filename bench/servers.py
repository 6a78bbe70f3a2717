"""A program that is measured: started on its cores, asked whether it answers right, ended."""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.cores import Cores, cores_used, family_seconds, pinned
from bench.failure import BenchFailed
from bench.figures import Sample
from bench.requests import Request
from bench.wrk import run_wrk

PORT: Final = "{port}"
"""Stands in a program's arguments and variables for the port that it gets."""

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 40.0
_POLL_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 30.0
_WORDS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Program:
    """How a server is started, and the file of the keys that its callers have, one a line."""

    name: str
    argv: tuple[str, ...]
    directory: Path
    keys: Path
    variables: Mapping[str, str] = field(default_factory=dict)


class Served:
    """A running server. Use it as a context; it has ended when the block has."""

    def __init__(self, program: Program, cores: Cores, log: Path) -> None:
        """Take the program, where it runs, and the file that takes what it says."""
        self._program = program
        self._cores = cores
        self._log = log
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The id of its first process. Raises `BenchFailed` when it does not run."""
        if self._process is None:
            raise self._failure("does not run")
        return self._process.pid

    def __enter__(self) -> Served:
        """Start it; return when it accepts connections."""
        with self._log.open("ab") as log, pinned(self._cores.server):
            self._process = subprocess.Popen(
                [each.replace(PORT, str(self._port)) for each in self._program.argv],
                cwd=self._program.directory,
                env={name: self._filled(text) for name, text in self._program.variables.items()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()

    def stop(self) -> None:
        """End it in order, and by force when that takes too long; twice is once."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def check(self, request: Request, *, is_guarded: bool) -> None:
        """Prove that it answers a request right, and when guarded refuses an unknown key with 401.

        A contender that answers something else is faster for nothing. Raises `BenchFailed`.
        """
        key = self._program.keys.read_text().split(maxsplit=1)[0] if request.has_key else None
        status, answer = self._ask(request, key)
        if status != 200 or not isinstance(answer, dict) or answer.get("data") != request.reply:
            raise self._failure(f"answers {status} and {json.dumps(answer)[:300]}")
        if is_guarded:
            status, _ = self._ask(request, f"unknown-{secrets.token_hex(8)}")
            if status != 401:
                raise self._failure(f"answers an unknown key with {status}, not 401")

    def sample(self, request: Request, *, connections: int, seconds: int) -> Sample:
        """Load it once round. Raises `BenchFailed` when it has ended or nothing was answered well."""
        cores = self._cores.server
        began, spent, used = time.perf_counter(), family_seconds(self.pid), cores_used(cores)
        load = run_wrk(self.url, request, self._program.keys, connections=connections, seconds=seconds)
        elapsed = (time.perf_counter() - began) * len(cores)
        spent, now = family_seconds(self.pid) - spent, cores_used(cores)
        if self._process is None or self._process.poll() is not None:
            raise self._failure("ended while it was measured")
        if not load.answered:
            raise self._failure(f"answered none of {load.requests} requests well")
        return Sample(
            requests_per_second=load.answered / load.seconds,
            p50_us=load.p50_us,
            p99_us=load.p99_us,
            cpu_us=spent / load.answered * 1e6,
            core_share=spent / elapsed,
            foreign_share=max(0.0, now.busy - used.busy - spent) / elapsed,
            stolen_share=(now.stolen - used.stolen) / elapsed,
            requests=load.requests,
            refused=load.refused,
            broken=load.broken,
            late=load.late,
        )

    def _filled(self, text: str) -> str:
        return text.replace(PORT, str(self._port))

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise self._failure("ended while it started")
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(_POLL_SECONDS)
            else:
                return
        raise self._failure(f"did not listen within {_START_SECONDS:g} seconds")

    def _ask(self, request: Request, key: str | None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("POST", request.path, request.body, headers)
            response = connection.getresponse()
            body = response.read()
        except OSError as error:
            raise self._failure(f"does not answer ({error})") from error
        finally:
            connection.close()
        try:
            return response.status, json.loads(body)
        except ValueError:
            return response.status, body.decode(errors="replace")

    def _failure(self, what: str) -> BenchFailed:
        words = self._log.read_text(errors="replace")[-_WORDS:].strip() if self._log.exists() else ""
        return BenchFailed(f"{self._program.name} {what}.\n{words}".rstrip())


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
