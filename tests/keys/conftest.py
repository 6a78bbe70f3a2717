from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from api_factory.accounts import Account, Accounts, Plan, Plans
from api_factory.audit import Actor, Audit
from api_factory.db import Database
from api_factory.keys import Keys

PEPPERS = {1: b"p" * 32, 2: b"q" * 32}


@pytest.fixture
def by() -> Actor:
    return Actor("staff", "staff_1", "req-1")


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database)


@pytest.fixture
def accounts(database: Database, audit: Audit) -> Accounts:
    return Accounts(database, audit)


@pytest.fixture
async def plans(database: Database, audit: Audit, by: Actor) -> Plans:
    plans = Plans(database, audit)
    free = Plan(slug="free", name="Free", quota_units=100, rate="10/second;100/minute", key_limit=10)
    pro = Plan(slug="pro", name="Pro", quota_units=None, scopes=frozenset({"RUN_ACTIONS"}), key_limit=1_000)
    await plans.apply([free, pro], by=by)
    return plans


@pytest.fixture
async def account(plans: Plans, accounts: Accounts, by: Actor) -> Account:
    return await accounts.create("owner@example.com", by=by)


@pytest.fixture
async def other(plans: Plans, accounts: Accounts, by: Actor) -> Account:
    return await accounts.create("other@example.com", by=by)


@pytest.fixture
def keys(database: Database, audit: Audit) -> Keys:
    return Keys(database, audit, PEPPERS)


@pytest.fixture
def move_time(database: Database) -> Callable[[str], Awaitable[None]]:
    """Move the database's clock by an interval such as `2 hours`."""

    async def move(interval: str) -> None:
        await database.execute(
            "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
            f" 'SELECT clock_timestamp() + interval ''{interval}'''"
        )

    return move


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Another session, such as a ledger's committer has."""
    connection = await database.connect()
    yield connection
    await connection.close()


@dataclass
class Line:
    """The line to the database: it can be cut and mended, as a network or a restart does it."""

    server: str
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    is_cut: bool = False
    port: int = 0

    @property
    def dsn(self) -> str:
        """The address of the database at this end of the line."""
        parts = urlsplit(self.server)
        return f"postgresql://{parts.username or 'postgres'}@127.0.0.1:{self.port}{parts.path}"

    def cut(self) -> None:
        """Break every connection and take no other."""
        self.is_cut = True
        for writer in self.writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Take connections again."""
        self.is_cut = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection, both ways, until either end closes it."""
        if self.is_cut:
            writer.transport.abort()
            return
        from_server, to_server = await self._connect()
        self.writers |= {writer, to_server}
        await asyncio.gather(_carry(reader, to_server), _carry(from_server, writer))
        self.writers -= {writer, to_server}

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.server)
        directory = parse_qs(parts.query).get("host")
        if directory:
            return await asyncio.open_unix_connection(f"{directory[0]}/.s.PGSQL.{parts.port or 5432}")
        return await asyncio.open_connection(parts.hostname, parts.port or 5432)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def line(database_url: str) -> AsyncIterator[Line]:
    line = Line(database_url)
    server = await asyncio.start_server(line.accept, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    yield line
    line.cut()
    server.close()


@pytest.fixture
async def distant(line: Line, database: Database) -> AsyncIterator[Database]:
    """The database at the end of the line; it takes the place of `database`."""
    await database.close()
    opened = Database(line.dsn, pool_size=10)
    await opened.open()
    yield opened
    await opened.close()
