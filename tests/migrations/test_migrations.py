"""Migrations: forwards on an empty database, backwards to nothing, and many processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import asyncpg

ROOT = Path(__file__).resolve().parents[2]
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migration'"
FUNCTIONS = (
    "SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE n.nspname = 'public'"
)
MIGRATE = """
import asyncio, os
from api_factory.db import Database, migrate
async def main():
    db = Database(os.environ["DATABASE_URL"]); await db.open()
    print(len(await migrate(db))); await db.close()
asyncio.run(main())
"""
BACKWARDS = """
import asyncio
from piccolo.apps.migrations.commands.backwards import run_backwards
result = asyncio.run(run_backwards("api_factory", "all", auto_agree=True))
assert result.success, result.message
"""


def run(script: str, url: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


async def names(url: str, statement: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row[0] for row in await connection.fetch(statement)}
    finally:
        await connection.close()


async def test_backwards_leaves_nothing_and_forwards_makes_it_whole_again(fresh_database_url: str) -> None:
    tables = await names(fresh_database_url, TABLES)
    functions = await names(fresh_database_url, FUNCTIONS)
    assert {"account", "api_key", "quota", "usage_event", "reservation"} <= tables
    assert {"ledger_commit", "ledger_reap", "af_now"} <= functions
    going_back = run(BACKWARDS, fresh_database_url)
    going_back.communicate(timeout=60)
    assert going_back.returncode == 0
    assert await names(fresh_database_url, TABLES) == set()
    assert await names(fresh_database_url, FUNCTIONS) == set()
    racers = [run(MIGRATE, fresh_database_url) for _ in range(5)]
    applied = sorted(int(racer.communicate(timeout=60)[0]) for racer in racers)
    assert applied == [0, 0, 0, 0, len(list((ROOT / "migrations").glob("*.py")))]
    assert await names(fresh_database_url, TABLES) == tables
    assert await names(fresh_database_url, FUNCTIONS) == functions
