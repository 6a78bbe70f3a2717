"""The database layer: no leak, no hang, an outage is a refusal."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from api_factory import changes
from api_factory.actions import Catalogue
from api_factory.db import (
    MIGRATION_LOCK,
    known_migrations,
    migrate,
    outages_as_unavailable,
    pending_migrations,
)
from api_factory.errors import Unavailable
from api_factory.settings import Settings
from api_factory.wiring import build_engine

if TYPE_CHECKING:
    from api_factory.db import Database

ROOT = Path(__file__).resolve().parents[2]


async def test_a_failing_commit_gives_the_connection_back(database: Database) -> None:
    await database.execute(
        "CREATE TABLE IF NOT EXISTS deferred_check (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    )

    async def commit_twice_the_same() -> None:
        async with database.transaction():
            await database.execute("INSERT INTO deferred_check VALUES (1), (1)")

    for _ in range(12):
        with pytest.raises(asyncpg.UniqueViolationError):
            await commit_twice_the_same()
    assert database.in_use == 0
    assert await database.fetchval("SELECT count(*) FROM deferred_check") == 0
    await database.execute("DROP TABLE deferred_check")


async def test_a_cancelled_transaction_gives_the_connection_back_and_rolls_back(database: Database) -> None:
    has_written = asyncio.Event()

    async def work() -> None:
        async with database.transaction():
            await database.execute("UPDATE change_epoch SET epoch = epoch + 1000")
            has_written.set()
            await asyncio.sleep(60)

    before = await changes.current_epoch(database)
    task = asyncio.create_task(work())
    await has_written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert database.in_use == 0
    assert await changes.current_epoch(database) == before


async def test_a_transaction_inside_another_joins_it(database: Database) -> None:
    before = await changes.current_epoch(database)

    async def fail_after_the_inner_one() -> None:
        async with database.transaction():
            async with database.transaction():
                await changes.next_epoch(database)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_the_inner_one()
    assert await changes.current_epoch(database) == before


async def test_an_unreachable_server_is_a_refusal_with_a_time_to_retry() -> None:
    from api_factory.db import Database

    away = Database("postgresql://postgres@127.0.0.1:1/none")
    with pytest.raises(Unavailable) as refusal:
        await away.open()
    assert refusal.value.retry_after_seconds == 1
    with pytest.raises(Unavailable):
        await away.ping()
    with pytest.raises(Unavailable):
        await away.connect()
    await away.close()
    assert away.in_use == 0


async def test_a_backend_killed_under_a_statement_is_a_refusal(database: Database) -> None:
    with pytest.raises(Unavailable):
        await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    await database.ping()
    with pytest.raises(Unavailable):
        async with database.transaction():
            await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    await database.ping()
    assert database.in_use == 0


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ObjectNotInPrerequisiteStateError,
        asyncpg.InvalidPasswordError,
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.DiskFullError,
    ],
)
def test_a_server_that_lets_nobody_in_or_is_full_is_an_outage(error: type[Exception]) -> None:
    with pytest.raises(Unavailable), outages_as_unavailable():
        raise error("as the server says")


async def test_a_value_of_the_wrong_type_is_a_mistake_and_no_outage(database: Database) -> None:
    with pytest.raises(asyncpg.DataError):
        await database.fetchval("SELECT $1::int", "seven")


async def test_a_database_that_takes_no_connections_is_not_ready_and_never_a_500(
    fresh_database_url: str,
) -> None:
    settings = Settings(database_url=SecretStr(fresh_database_url), redis_url=None)
    engine = build_engine(settings, catalogue=Catalogue(()))
    await engine.open(background=False)
    name = urlsplit(fresh_database_url).path[1:]
    admin = await asyncpg.connect(os.environ["TEST_DATABASE_URL"])
    try:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        while (await engine.readiness())["database"].ok:  # the pool has yet to notice
            await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await engine.db.ping()
        assert [check.ok for check in (await engine.readiness()).values()] == [False] * 3
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await admin.close()
    await engine.db.ping()
    await engine.close()


async def test_a_start_says_where_the_database_is_and_why_it_cannot_be_used(database_url: str) -> None:
    from api_factory.db import Database

    elsewhere = urlsplit(database_url)._replace(path="/no_such_database").geturl()
    for url, reason in (
        ("postgresql://u:hunter2@127.0.0.1:1/x", "at 127.0.0.1:1/x cannot be used: connection refused"),
        ("postgresql://u:hunter2@/x?host=/no/such", "at /no/such/x cannot be used: no such file"),
        (elsewhere, 'database "no_such_database" does not exist'),
    ):
        with pytest.raises(Unavailable) as refusal:
            await Database(url).open()
        assert reason in refusal.value.message
        assert "DATABASE_URL" in refusal.value.message
        assert "api-factory doctor" in refusal.value.message
        assert "hunter2" not in refusal.value.message


async def test_a_migration_waits_for_another_one_longer_than_any_statement_may_take(
    fresh_database_url: str,
) -> None:
    from api_factory.db import Database

    other = await asyncpg.connect(fresh_database_url)
    await other.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    hasty = Database(fresh_database_url, pool_size=1, command_timeout_seconds=1)
    await hasty.open()
    waiting = asyncio.create_task(migrate(hasty))
    await asyncio.sleep(1.5)
    assert not waiting.done()
    await other.close()
    assert await waiting == []
    async with hasty.migrating():
        await hasty.execute("SELECT pg_sleep(1.5)")
    await hasty.close()


async def test_a_migration_gives_up_on_a_table_that_somebody_holds(fresh_database_url: str) -> None:
    from api_factory.db import Database

    database = Database(fresh_database_url, pool_size=1)
    await database.open()
    holder = await asyncpg.connect(fresh_database_url)
    await holder.execute("BEGIN; LOCK TABLE plan")

    async def change_the_held_table() -> None:
        async with database.migrating():
            assert await database.fetchval("SHOW lock_timeout") == "5s"
            await database.execute("CREATE TABLE made_before (i int)")
            await database.execute("SET LOCAL lock_timeout = '50ms'")
            await database.execute("ALTER TABLE plan ADD COLUMN more int")

    with pytest.raises(Unavailable, match="nothing was changed"):
        await change_the_held_table()
    assert await database.fetchval("SELECT to_regclass('made_before')") is None
    await holder.close()
    await database.close()


@pytest.mark.parametrize(
    "first",
    ["import piccolo_conf", "from api_factory.db import Database; Database('postgresql://nobody@h/x')"],
)
def test_a_user_without_home_and_name_can_load_everything(first: str) -> None:
    script = (
        "import os, pathlib\n"
        "def homeless(*_): raise RuntimeError('no home')\n"
        "pathlib.Path.home = homeless\n"
        "os.path.expanduser = lambda path: path\n"
        f"{first}\n"
        "import piccolo_conf, api_factory.cli.history\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_statement_that_runs_too_long_is_a_refusal(database_url: str) -> None:
    from api_factory.db import Database

    hasty = Database(database_url, command_timeout_seconds=1)
    await hasty.open()
    with pytest.raises(Unavailable):
        await hasty.execute("SELECT pg_sleep(5)")
    assert await hasty.fetch("SELECT 1 AS one") == [(1,)]
    await hasty.close()


async def test_epochs_commit_in_the_order_of_their_numbers(database: Database) -> None:
    """Judged inside the database: replies of commits can reach the loop in any order.

    With the epoch from a sequence instead of the locked row, a change sees fewer than those before it.
    """
    await database.execute("CREATE TABLE committed_epochs (epoch bigint PRIMARY KEY)")
    before = await changes.current_epoch(database)

    async def change(pause: float) -> tuple[int, list[int]]:
        async with database.transaction():
            epoch = await changes.next_epoch(database)
            rows = await database.fetch("SELECT epoch FROM committed_epochs ORDER BY epoch")
            await asyncio.sleep(pause)
            await database.execute("INSERT INTO committed_epochs VALUES ($1)", epoch)
            await changes.notify(database, epoch)
        return epoch, [row[0] for row in rows]

    try:
        seen = await asyncio.gather(*(change(pause) for pause in (0.03, 0.0, 0.02, 0.0, 0.01)))
    finally:
        await database.execute("DROP TABLE committed_epochs")
    assert sorted(seen) == [(before + n, [before + k for k in range(1, n)]) for n in range(1, 6)]


async def test_a_script_needs_a_transaction(database: Database) -> None:
    engine = importlib.import_module("piccolo_conf").DB
    with pytest.raises(RuntimeError):
        await engine.run_script("SELECT 1")
    async with database.transaction():
        await engine.run_script("SELECT 1; SELECT 2")
    await engine.run_ddl("CREATE TABLE IF NOT EXISTS by_ddl (i int)")
    await engine.run_ddl("DROP TABLE by_ddl")


def test_importing_the_configuration_does_not_connect() -> None:
    script = "import socket; socket.socket.connect = None; import piccolo_conf; print(piccolo_conf.DB.config)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            "DATABASE_URL": "postgresql://nobody@192.0.2.1/none",
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "192.0.2.1" in done.stdout


async def test_no_migration_is_pending_after_the_start(database: Database) -> None:
    assert len(known_migrations()) >= 2
    assert await pending_migrations(database) == []
