"""The way to PostgreSQL: one pool, transactions that give their connection back, outages as refusals.

Piccolo's engine is kept for tables, migrations and queries, with three corrections: building it never
connects, a failing COMMIT never leaks the connection, and an unreachable server is `Unavailable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import asyncpg
from piccolo.engine.finder import engine_finder
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction

from api_factory.dsn import place_of
from api_factory.errors import Unavailable
from api_factory.home import settle_home

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
MIGRATION_LOCK = 0x61706966
_MIGRATION_ID = re.compile(r'^ID = "(.+)"$', re.MULTILINE)
APPLICATION_NAME = "api-factory"

# What a client can see when the server is down, restarting, failing over, out of connections or of disk, or
# when somebody changes who may log in to which database.
_OUTAGES = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # asyncpg's word for a connection that was ended from the other side while it was being used.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    # Several hosts, and none of them is what target_session_attrs asks for: a failover is under way.
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.PostgresIOError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)
_CONNECT_SECONDS = 5.0
# Migrations wait for each other as long as it takes, but for a table only so long: whoever waits for a table
# keeps all who come later from it.
_MIGRATION_SETTINGS = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; "
    "SET LOCAL lock_timeout = 0"
)
_MIGRATION_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '5s'"


@contextlib.contextmanager
def outages_as_unavailable() -> Iterator[None]:
    """Turn whatever means «the database cannot answer now» into `Unavailable`; let the rest pass."""
    try:
        yield
    except _OUTAGES as error:
        raise Unavailable("The database cannot be reached; retry in a moment.") from error


class SafeTransaction(PostgresTransaction):
    """A Piccolo transaction that gives its connection back whatever happens, a failing COMMIT included.

    A transaction opened inside another joins it: an exception caught between the two rolls nothing back.
    """

    __slots__ = ()

    async def __aenter__(self) -> PostgresTransaction:
        """Take a connection and begin; inside another transaction, join it."""
        if self._parent is not None:
            return self._parent
        with outages_as_unavailable():
            self.connection = await self.get_connection()  # type: ignore[no-untyped-call]
            try:
                self.transaction = self.connection.transaction()
                await self.begin()  # type: ignore[no-untyped-call]
            except BaseException:
                await self._give_back()
                raise
        self.context = self.engine.current_transaction.set(self)
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> Literal[False]:
        """Commit, or roll back when an exception passes; then give the connection back."""
        if self._parent is not None:
            return False
        try:
            with outages_as_unavailable():
                if error is not None and not self._rolled_back:
                    await self.rollback()  # type: ignore[no-untyped-call]
                elif error is None and not self._committed and not self._rolled_back:
                    await self.commit()  # type: ignore[no-untyped-call]
        finally:
            self.engine.current_transaction.reset(self.context)
            await self._give_back()
        return False

    async def _give_back(self) -> None:
        if self.engine.pool is not None:
            await self.engine.pool.release(self.connection)
        else:
            await self.connection.close()


class _PatientTransaction(SafeTransaction):
    """A transaction on a connection of its own, whose statements may take as long as they take."""

    __slots__ = ()

    async def get_connection(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self.engine.config["dsn"],
            timeout=_CONNECT_SECONDS,
            server_settings={"application_name": APPLICATION_NAME},
        )

    async def _give_back(self) -> None:
        await self.connection.close()


class Engine(PostgresEngine):
    """Piccolo's engine without input or output at import."""

    async def check_version(self) -> None:
        """Do nothing: readiness checks the server, building the engine must not connect."""

    async def prep_database(self) -> None:
        """Do nothing: no extension is needed."""

    def transaction(self, allow_nested: bool = True) -> SafeTransaction:
        """Return a transaction that never leaks its connection."""
        return SafeTransaction(engine=self, allow_nested=allow_nested)

    async def run_querystring(self, querystring: Any, in_pool: bool = True) -> Any:
        """Run a Piccolo query; raise `Unavailable` when the server cannot answer."""
        with outages_as_unavailable():
            return await super().run_querystring(querystring, in_pool)

    async def run_script(self, sql: str) -> None:
        """Run several statements inside the current transaction, as migrations do."""
        current = self.current_transaction.get()
        if current is None:
            raise RuntimeError("a script runs inside a transaction")
        await current.connection.execute(sql)

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> Any:
        """Run DDL; raise `Unavailable` when the server cannot answer."""
        with outages_as_unavailable():
            return await super().run_ddl(ddl, in_pool)


class Database:
    """What the stores are handed: statements, transactions, migrations."""

    def __init__(self, dsn: str, *, pool_size: int = 8, command_timeout_seconds: float = 10.0) -> None:
        """Remember where the server is; `open` connects."""
        self.dsn = dsn
        self._pool_size = pool_size
        self._command_timeout_seconds = command_timeout_seconds
        settle_home()
        found = engine_finder()
        if not isinstance(found, Engine):
            raise TypeError("piccolo_conf.DB must be an api_factory.db.Engine")
        self._engine = found

    async def open(self) -> None:
        """Start the pool. Raises `Unavailable` that says where the server is and why it cannot be used."""
        self._engine.config = {"dsn": self.dsn}
        try:
            await self._engine.start_connection_pool(
                min_size=1,
                max_size=self._pool_size,
                timeout=_CONNECT_SECONDS,
                command_timeout=self._command_timeout_seconds,
                server_settings={"application_name": APPLICATION_NAME},
            )
        except _OUTAGES as error:
            raise Unavailable(
                f"The database at {place_of(self.dsn)} cannot be used: {_reason(error)}; start it or correct "
                "DATABASE_URL, and see `api-factory doctor`."
            ) from error

    async def close(self) -> None:
        """End the pool, waiting for what runs; after five seconds end it anyway."""
        if self._engine.pool is None:
            return
        pool = self._engine.pool
        self._engine.pool = None
        try:
            await asyncio.wait_for(pool.close(), 5)
        except TimeoutError:
            pool.terminate()

    @property
    def in_use(self) -> int:
        """Return how many connections of the pool are busy."""
        pool = self._engine.pool
        return 0 if pool is None else pool.get_size() - pool.get_idle_size()

    def transaction(self) -> SafeTransaction:
        """Return a READ COMMITTED transaction; one opened inside another joins it."""
        return self._engine.transaction()

    def is_in_transaction(self) -> bool:
        """Tell whether the calling task has a transaction open."""
        return self._engine.current_transaction.get() is not None

    @contextlib.asynccontextmanager
    async def migrating(self) -> AsyncIterator[None]:
        """Hold the one turn to change tables, in a transaction; it waits for whoever has the turn.

        Raises `Unavailable` when a table stays locked for five seconds; then nothing was changed.
        """
        try:
            async with _PatientTransaction(engine=self._engine):
                await self.execute(_MIGRATION_SETTINGS)
                await self.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
                await self.execute(_MIGRATION_LOCK_TIMEOUT)
                yield
        except (Unavailable, asyncpg.LockNotAvailableError) as error:
            if not isinstance(error.__cause__ or error, asyncpg.LockNotAvailableError):
                raise
            raise Unavailable(
                "Another transaction holds a table that a migration changes; nothing was changed, retry when "
                "it has ended."
            ) from error

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        current = self._engine.current_transaction.get()
        with outages_as_unavailable():
            if current is not None:
                yield current.connection
                return
            if self._engine.pool is None:
                raise Unavailable("The database pool is not open.")
            async with self._engine.pool.acquire(timeout=self._command_timeout_seconds) as connection:
                try:
                    yield connection
                except (asyncio.CancelledError, TimeoutError):
                    # To give it back would wait for the server to acknowledge, and it may be silent for long.
                    connection.terminate()
                    raise

    async def fetch(
        self, sql: str, *arguments: object, timeout_seconds: float | None = None
    ) -> Sequence[asyncpg.Record]:
        """Run one statement, in the current transaction if there is one; return its rows.

        `timeout_seconds` replaces the pool's for this statement.
        """
        async with self._connection() as connection:
            rows: Sequence[asyncpg.Record] = await connection.fetch(sql, *arguments, timeout=timeout_seconds)
            return rows

    async def fetchrow(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        """Run one statement; return its first row or None."""
        async with self._connection() as connection:
            row: asyncpg.Record | None = await connection.fetchrow(sql, *arguments)
            return row

    async def fetchval(self, sql: str, *arguments: object) -> Any:
        """Run one statement; return the first column of its first row or None."""
        async with self._connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def execute(self, sql: str, *arguments: object) -> str:
        """Run one statement; return its command tag."""
        async with self._connection() as connection:
            tag: str = await connection.execute(sql, *arguments)
            return tag

    async def connect(self) -> asyncpg.Connection:
        """Open a connection of its own, for LISTEN or for the ledger's committer; its commits are durable."""
        with outages_as_unavailable():
            return await asyncpg.connect(
                self.dsn,
                timeout=_CONNECT_SECONDS,
                command_timeout=self._command_timeout_seconds,
                # A role or a server may have switched it off; what is charged must be on disk.
                server_settings={"application_name": APPLICATION_NAME, "synchronous_commit": "on"},
            )

    async def ping(self) -> None:
        """Return when the server answers. Raises `Unavailable` otherwise."""
        await self.fetchval("SELECT 1")


def _reason(error: BaseException) -> str:
    """Return the server's own words, or the system's where none were heard."""
    if isinstance(error, TimeoutError) and not error.errno:
        return f"no answer within {_CONNECT_SECONDS:.0f} seconds"
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextlib.contextmanager
def _import_path_kept() -> Iterator[None]:
    # Piccolo puts the migrations' folder first on the path and leaves it there.
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


async def migrate(database: Database) -> list[str]:
    """Apply what is pending, all in one transaction; any number of processes may call it at once.

    Returns the ids of the migrations that this call applied.
    """
    from piccolo.apps.migrations.commands.forwards import run_forwards

    async with database.migrating():
        before = set(await applied_migrations(database))
        with contextlib.redirect_stdout(io.StringIO()) as talk, _import_path_kept():
            result = await run_forwards("all")
        if not result.success:
            raise Unavailable(f"A migration failed: {result.message or talk.getvalue()}")
        return [name for name in await applied_migrations(database) if name not in before]


async def is_new(database: Database) -> bool:
    """Tell whether no migration was ever applied, one that was undone since included."""
    return await database.fetchval("SELECT to_regclass('migration')") is None


async def applied_migrations(database: Database) -> list[str]:
    """Return the ids of the migrations this database has, oldest first."""
    if await is_new(database):
        return []
    rows = await database.fetch("SELECT name FROM migration ORDER BY ran_on, id")
    return [row["name"] for row in rows]


@functools.cache
def known_migrations() -> tuple[str, ...]:
    """Return the ids of the migrations this code brings, oldest first."""
    found = (_MIGRATION_ID.search(path.read_text()) for path in MIGRATIONS.glob("*.py"))
    return tuple(sorted(match[1] for match in found if match is not None))


async def pending_migrations(database: Database) -> list[str]:
    """Return the ids of the migrations this code brings and this database lacks, oldest first."""
    applied = set(await applied_migrations(database))
    return [name for name in known_migrations() if name not in applied]
