"""`api-factory serve` as real processes on real sockets, and the commands beside it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.faults.postgres import family
from tests.faults.waiting import START_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LEASE_SECONDS = 4.0
READYZ = "/_api/readyz"
HEALTHZ = "/_api/healthz"


def free_port() -> int:
    """Return a port below those that the system gives to outgoing connections.

    From among those, a client could meet itself on the port of a server that is down.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def environment(dsn: str, directory: Path, **settings: object) -> dict[str, str]:
    """Return the environment of the commands at one database."""
    return {
        **os.environ,
        "DATABASE_URL": dsn,
        "API_FACTORY_DATA_DIR": str(directory),
        "API_FACTORY_ACTIONS": "faulty_actions",
        "API_FACTORY_WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "NO_PROXY": "*",
        **{f"API_FACTORY_{name.upper()}": str(value) for name, value in settings.items()},
    }


class Server:
    """One `serve` with its workers; restarted, it keeps its address."""

    def __init__(self, variables: dict[str, str], log: Path, argv: list[str]) -> None:
        """Take the environment, where its words go, and the program with its options, the port left out."""
        self._variables = variables
        self._log = log
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @classmethod
    def of_workers(cls, variables: dict[str, str], log: Path, workers: int) -> Server:
        """Return `api-factory serve` with so many workers."""
        return cls(
            variables, log, ["-m", "api_factory.cli", "serve", "--json", "--workers", str(workers), "--port"]
        )

    @property
    def pid(self) -> int:
        """The parent of its workers."""
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        """The ids of its worker processes now."""
        return family(self.pid, "api_factory.cli.worker")

    @property
    def counters(self) -> list[int]:
        """The ids of the stores of limits that it started."""
        return family(self.pid, "valkey")

    async def metric(self, sample: str) -> float:
        """Return one sample of /metrics; fail when it is not there."""
        async with httpx.AsyncClient(trust_env=False, timeout=30, verify=False) as client:
            lines = (await client.get(f"{self.url}/metrics")).text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{sample} "))

    def launch(self) -> None:
        """Begin to start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._argv, str(self.port)],
                env=self._variables,
                cwd=self._log.parent,
                stdout=log,
                stderr=log,
            )

    async def is_ready(self) -> bool:
        """Tell whether it says that it can serve."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=10, verify=False) as client:
                return (await client.get(self.url + READYZ)).status_code == 200
        except httpx.HTTPError:
            return False

    async def ready(self) -> None:
        """Return when it can serve; fail with its own words when it ends before, or never can."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not await self.is_ready():
            assert self._process.poll() is None, self.words
            waited = f"the server was not ready within {START_SECONDS:g} s; it said: {self.words}"
            assert time.monotonic() < deadline, waited
            await asyncio.sleep(0.05)

    @property
    def words(self) -> str:
        """What it has said lately."""
        return self._log.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """End the parent without a warning; it is for the workers to notice."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def stop(self) -> None:
        """End it in order, and by force when that takes too long."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await until(lambda: process.poll() is not None, "the server ends", seconds=40)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


async def command(variables: dict[str, str], *arguments: str) -> Any:
    """Run a command of the operator's in a process of its own; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "api_factory.cli",
        *arguments,
        "--json",
        env=variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    return json.loads(said)
