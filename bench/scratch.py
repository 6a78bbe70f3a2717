"""A server of PostgreSQL, and migrated databases on it that live as long as a measurement."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from api_factory.db import Database, migrate
from api_factory.embedded import EmbeddedPostgres
from bench.failure import BenchFailed

SERVER_VARIABLE = "BENCH_DATABASE_URL"


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the server of `BENCH_DATABASE_URL`; unset, an embedded one that ends with the block.

    The embedded one runs on the cores of this process, on a disk that it flushes as any PostgreSQL does.
    """
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        yield named
        return
    with tempfile.TemporaryDirectory(prefix="api-factory-bench-") as directory:
        # As root it runs as nobody in particular, who has to be able to come here.
        Path(directory).chmod(0o711)
        with EmbeddedPostgres(Path(directory) / "postgres") as postgres:
            yield postgres.dsn


@contextlib.asynccontextmanager
async def scratch_url(*, keep: str | None = None) -> AsyncIterator[str]:
    """Make an empty database, yield its address, and drop it after the block.

    With `keep`, the database of that name is made if it is missing, and stays. Raises `BenchFailed` when the
    server would not stay.
    """
    if keep and not os.environ.get(SERVER_VARIABLE):
        raise BenchFailed(f"What is kept needs a server that stays; name one in {SERVER_VARIABLE}.")
    with postgres_server() as server:
        name = keep or new_name()
        await create_database(server, name)
        try:
            yield on_server(server, name)
        finally:
            if keep is None:
                await drop_database(server, name)


@contextlib.asynccontextmanager
async def scratch_database(*, keep: str | None = None) -> AsyncIterator[Database]:
    """Make a migrated database and open it; `keep` is as in `scratch_url`."""
    async with scratch_url(keep=keep) as url, migrated(url) as database:
        yield database


@contextlib.asynccontextmanager
async def migrated(dsn: str) -> AsyncIterator[Database]:
    """Open a database whose tables are made or brought up to date first."""
    database = Database(dsn)
    await database.open()
    try:
        await migrate(database)
        yield database
    finally:
        await database.close()


def new_name() -> str:
    """Return a name that no database has."""
    return f"api_factory_bench_{secrets.token_hex(4)}"


def on_server(server: str, name: str) -> str:
    """Return the address of another database of a server."""
    parts = urlsplit(server)
    # urlunsplit leaves out the slashes of an empty host, which a socket's address has.
    return urlunsplit((parts.scheme, parts.netloc or "postgres@", f"/{name}", parts.query, ""))


async def create_database(server: str, name: str) -> None:
    """Make an empty database, unless there is one of this name."""
    with contextlib.suppress(asyncpg.DuplicateDatabaseError):
        await execute(server, f'CREATE DATABASE "{name}"')


async def drop_database(server: str, name: str) -> None:
    """Drop a database, whoever is connected to it."""
    await execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def execute(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def fetchval(dsn: str, statement: str) -> object:
    """Return the one value of a statement, on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        found: object = await connection.fetchval(statement)
        return found
    finally:
        await connection.close()
