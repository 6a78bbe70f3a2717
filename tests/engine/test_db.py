"""The database layer: no leak, no hang, an outage is a refusal."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from api_factory import changes
from api_factory.db import known_migrations, pending_migrations
from api_factory.errors import Unavailable

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
    async def work() -> None:
        async with database.transaction():
            await database.execute("UPDATE change_epoch SET epoch = epoch + 1000")
            await asyncio.sleep(60)

    before = await changes.current_epoch(database)
    task = asyncio.create_task(work())
    await asyncio.sleep(0.1)
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


async def test_a_statement_that_runs_too_long_is_a_refusal(database_url: str) -> None:
    from api_factory.db import Database

    hasty = Database(database_url, command_timeout_seconds=0.2)
    await hasty.open()
    with pytest.raises(Unavailable):
        await hasty.execute("SELECT pg_sleep(5)")
    assert await hasty.fetch("SELECT 1 AS one") == [(1,)]
    await hasty.close()


async def test_epochs_commit_in_the_order_of_their_numbers(database: Database) -> None:
    order: list[int] = []

    async def change(pause: float) -> None:
        async with database.transaction():
            epoch = await changes.next_epoch(database)
            await asyncio.sleep(pause)
            await changes.notify(database, epoch)
        order.append(epoch)

    await asyncio.gather(*(change(pause) for pause in (0.03, 0.0, 0.02, 0.0, 0.01)))
    assert order == sorted(order)
    assert len(set(order)) == 5


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
