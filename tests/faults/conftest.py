"""One PostgreSQL and two servers of two workers, for the tests that break them; and how long they go on."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from api_factory.settings import Settings
from api_factory.wiring import opened
from tests.faults.ground import Ground
from tests.faults.postgres import Postgres
from tests.faults.serving import Server, environment

SEED = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(2**32))
MINUTES = float(os.environ.get("FAULTS_MINUTES") or 0)
DATABASE = "faults"

Rounds = Callable[[int], Iterator[int]]


def pytest_report_header() -> str:
    """Say how to repeat what was random."""
    return f"faults: FAULTS_SEED={SEED}"


@pytest.fixture
def source(request: pytest.FixtureRequest) -> random.Random:
    """What is random in a test; its seed is shown with a failure."""
    print(f"FAULTS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Rounds:
    """Count at least so many rounds, and go on for this test's share of FAULTS_MINUTES."""
    sharing = sum("rounds" in getattr(item, "fixturenames", ()) for item in request.session.items)
    deadline = time.monotonic() + MINUTES * 60 / sharing

    def count(at_least: int) -> Iterator[int]:
        number = 0
        while number < at_least or time.monotonic() < deadline:
            yield number
            number += 1

    return count


@pytest.fixture(scope="session")
async def fleet() -> AsyncIterator[Ground]:
    """The servers, started once; a test that ends one starts it again."""
    directory = Path(tempfile.mkdtemp(prefix="af-faults-")).resolve()
    postgres = Postgres(directory)
    servers: list[Server] = []
    try:
        await postgres.start()
        connection = await asyncpg.connect(postgres.dsn())
        await connection.execute(f"CREATE DATABASE {DATABASE}")
        await connection.close()
        files = directory / "files"
        files.mkdir()
        dsn = postgres.dsn(DATABASE)
        async with opened(Settings(database_url=dsn, data_dir=files)):  # type: ignore[arg-type]
            pass  # migrated, and with its plans
        for number in range(2):
            server = Server.of_workers(environment(dsn, files), files / f"server-{number}.log", 2)
            server.launch()
            servers.append(server)
        yield Ground(postgres, DATABASE, files, servers, random.Random(SEED))
    finally:
        for server in servers:
            await server.stop()
        postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def ground(fleet: Ground, source: random.Random) -> AsyncIterator[Ground]:
    """Everything up before the test; up again, unaided, and with its books right after it."""
    fleet.source = source
    await fleet.ready()
    yield fleet
    await fleet.ready()
    assert (await fleet.verified()).drift == 0
