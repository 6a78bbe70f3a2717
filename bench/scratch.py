"""A migrated database that lives as long as a measurement."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from api_factory.db import Database, migrate

SERVER_VARIABLE = "BENCH_DATABASE_URL"


@contextlib.asynccontextmanager
async def scratch_database(*, keep: str | None = None) -> AsyncIterator[Database]:
    """Make a migrated database on the server of `BENCH_DATABASE_URL` and drop it after the block.

    With `keep`, the database of that name is made if it is missing, and stays.
    """
    server = os.environ.get(SERVER_VARIABLE, "postgresql://postgres@127.0.0.1:5432/postgres")
    name = keep or f"api_factory_bench_{secrets.token_hex(4)}"
    await _create(server, name)
    parts = urlsplit(server)
    database = Database(urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, "")))
    await database.open()
    try:
        await migrate(database)
        yield database
    finally:
        await database.close()
        if keep is None:
            await _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _create(server: str, name: str) -> None:
    with contextlib.suppress(asyncpg.DuplicateDatabaseError):
        await _execute(server, f'CREATE DATABASE "{name}"')


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
