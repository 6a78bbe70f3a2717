"""What all contenders stand on: PostgreSQL, a store of limits, databases with customers, files of keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from api_factory.embedded import EmbeddedValkey
from bench.cores import Cores, pinned
from bench.customers import add_customers
from bench.scratch import (
    create_database,
    drop_database,
    execute,
    migrated,
    new_name,
    on_server,
    postgres_server,
)

CALLERS: Final = 64
"""So many keys call in turn, unless a contender is measured with more."""
REDIS_VARIABLE: Final = "BENCH_REDIS_URL"

_USAGE_TABLE: Final = (
    "CREATE TABLE bench_usage (owner integer, month date, action text, calls bigint NOT NULL,"
    " PRIMARY KEY (owner, month, action))"
)


@dataclass(frozen=True, slots=True)
class Customers:
    """A migrated database with keys, and two files of the keys that can be used, one a line."""

    database_url: str
    keys: Path
    many_keys: Path


@dataclass
class Ground:
    """Makes what is asked for once, and drops it when `ground` ends."""

    server: str
    directory: Path
    cores: Cores
    _stack: contextlib.ExitStack
    _customers: dict[int, Customers] = field(default_factory=dict)
    pepper: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def customers(self, keys: int = CALLERS) -> Customers:
        """Return the database that holds so many keys."""
        if keys not in self._customers:
            url = self._database()
            known = asyncio.run(self._fill(url, keys))
            self._customers[keys] = Customers(
                url,
                self._keys_file(f"{keys}-{CALLERS}", known[:CALLERS]),
                self._keys_file(f"{keys}-all", known),
            )
        return self._customers[keys]

    @cached_property
    def usage_url(self) -> str:
        """The database in which a peer counts its calls, one row an owner and action."""
        url = self._database()
        asyncio.run(execute(url, _USAGE_TABLE))
        return url

    @cached_property
    def redis_url(self) -> str:
        """The store of shared limits: that of `BENCH_REDIS_URL`, or a Valkey of our own."""
        named = os.environ.get(REDIS_VARIABLE)
        return named or self._stack.enter_context(EmbeddedValkey(self.directory / "valkey")).url

    def _database(self) -> str:
        name = new_name()
        asyncio.run(create_database(self.server, name))
        self._stack.callback(lambda: asyncio.run(drop_database(self.server, name)))
        return on_server(self.server, name)

    async def _fill(self, url: str, keys: int) -> list[str]:
        async with migrated(url) as database:
            return [*await add_customers(database, keys, self.pepper.encode())]

    def _keys_file(self, name: str, keys: list[str]) -> Path:
        path = self.directory / f"keys-{name}.txt"
        path.write_text("".join(f"{key}\n" for key in keys))
        return path


@contextlib.contextmanager
def ground(cores: Cores) -> Iterator[Ground]:
    """Prepare the ground on the cores of the load, where this process and all it starts stay meanwhile."""
    with pinned(cores.load), contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="api-factory-bench-"))
        yield Ground(server, Path(directory), cores, stack)


def libpq_variables(url: str) -> dict[str, str]:
    """Return an address as the variables that every client of PostgreSQL knows."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    found = {
        "PGHOST": query.get("host") or parts.hostname,
        "PGPORT": query.get("port") or (str(parts.port) if parts.port else None),
        "PGUSER": unquote(parts.username) if parts.username else None,
        "PGPASSWORD": unquote(parts.password) if parts.password else None,
        "PGDATABASE": parts.path.lstrip("/"),
    }
    return {name: text for name, text in found.items() if text}
