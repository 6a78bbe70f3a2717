"""The primary dies and another server takes its place: nothing acknowledged is lost, and nobody restarts."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from api_factory.settings import Settings
from api_factory.wiring import opened
from tests.faults.clients import HANG_SECONDS, Load
from tests.faults.ground import Ground, Outage, check_refusals, outage
from tests.faults.postgres import PORT, Postgres
from tests.faults.serving import Server, environment
from tests.faults.waiting import until

DATABASE = "faults"
READ_ONLY_SECONDS = 2.0


class Pair(Postgres):
    """Two servers under one address, of which the second has the storage of the first once that is gone."""

    def __init__(self, directory: Path) -> None:
        """Take a short path; the second lies below it."""
        super().__init__(directory)
        second = directory / "b"
        second.mkdir()
        self.second = Postgres(second)

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of a database at whichever of the two can write."""
        hosts = ",".join(quote(str(each.directory / "sock")) for each in (self, self.second))
        writable = "target_session_attrs=read-write"
        return f"postgresql://postgres@/{database}?host={hosts}&port={PORT},{PORT}&{writable}"

    @property
    def is_running(self) -> bool:
        """Tell whether either answers."""
        return super().is_running or self.second.is_running

    async def take_over(self) -> None:
        """Start the second on the storage of the first; it refuses to write until `promote`."""
        await asyncio.to_thread(shutil.copytree, self.data, self.second.data)
        for trace in ("postmaster.pid", "postmaster.opts"):
            (self.second.data / trace).unlink(missing_ok=True)
        with (self.second.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("default_transaction_read_only = 'on'\n")
        await self.second.start()

    async def promote(self) -> None:
        """Let the second write."""
        connection = await asyncpg.connect(self.second.dsn(), timeout=10)
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = off")
        await connection.fetchval("SELECT pg_reload_conf()")
        await connection.close()


@pytest.fixture
async def pair(source: random.Random) -> AsyncIterator[Ground]:
    """Two servers of two workers each, at a primary that another can follow."""
    directory = Path(tempfile.mkdtemp(prefix="af-pair-")).resolve()
    postgres, servers = Pair(directory), list[Server]()
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
        ground = Ground(postgres, DATABASE, files, servers, source)
        await ground.ready()
        yield ground
    finally:
        for server in servers:
            await server.stop()
        postgres.stop()
        postgres.second.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def test_a_new_primary_has_every_acknowledged_charge_and_needs_no_restart(pair: Ground) -> None:
    """Broken by a committer that keeps the connection which it had: refused for ever after the failover."""
    assert isinstance(pair.postgres, Pair)
    customer, survivors = await pair.customer(), [server.workers for server in pair.servers]
    async with pair.load(customer).running() as load:
        await until(lambda: load.count(200) > 64, "calls are answered")
        async with outage() as kept:
            pair.postgres.crash()
            await _refused(load)
            await pair.postgres.take_over()
            await asyncio.sleep(READ_ONLY_SECONDS)
            await _refused(load)
            await pair.postgres.promote()
        await _answered(load)
    assert [server.workers for server in pair.servers] == survivors, "a worker was restarted"
    check_refusals(load.calls, 200, 503)
    assert await pair.account_for(customer, load.calls, [_stretched(kept)]) > 0


async def _refused(load: Load) -> None:
    before = load.count(503)
    await until(lambda: load.count(503) > before, "calls are refused")


async def _answered(load: Load) -> None:
    before = load.count(200)
    await until(lambda: load.count(200) >= before + 32, "calls are answered again", seconds=4 * HANG_SECONDS)


def _stretched(kept: Outage) -> Outage:
    # A commit whose answer was cut off ends for its client a moment after the server is there again.
    return Outage(kept.began, kept.ended + HANG_SECONDS)
