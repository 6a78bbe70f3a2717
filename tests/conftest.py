"""What every test may use: a migrated database of its own worker, emptied before each test."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from api_factory.db import Database

# A slow machine is no failure; on CI the same examples are tried each time.
settings.register_profile(
    "unhurried", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

# Before anything imports piccolo_conf: a developer's own settings must not leak into the tests.
for _name in [name for name in os.environ if name.startswith("API_FACTORY_") and name != "API_FACTORY_VENV"]:
    del os.environ[_name]
for _name in ("DATABASE_URL", "REDIS_URL"):
    os.environ.pop(_name, None)

RUN = os.environ.setdefault("TEST_RUN", secrets.token_hex(4))
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
TEMPLATE = f"api_factory_template_{RUN}"
NAME = f"api_factory_test_{RUN}_{WORKER or 'main'}"
LOCK = 0x74657374

_TRUNCATE = (
    "TRUNCATE api_key_secret, api_key, account, plan, audit_entry, quota, usage_event, reservation, worker, "
    "verification, usage_retained, idempotency, stripe_event, reconcile_run, notice, meter_reading, "
    "meter_window "
    "CASCADE"
)
_REAL_TIME = (
    "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE "
    "AS 'SELECT clock_timestamp()'"
)


def pytest_configure(config: pytest.Config) -> None:
    """Start the embedded server once, in the process that lives longest, when no server is configured."""
    if WORKER is None and "TEST_DATABASE_URL" not in os.environ:
        from api_factory.embedded import EmbeddedPostgres

        directory = Path(tempfile.mkdtemp(prefix="api-factory-tests-"))
        postgres = EmbeddedPostgres(directory / "postgres")
        postgres.start()
        os.environ["TEST_DATABASE_URL"] = postgres.dsn
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))
        config.add_cleanup(postgres.stop)


def pytest_unconfigure() -> None:
    """Drop what this run made, once."""
    if WORKER is None:
        asyncio.run(_drop_all(os.environ["TEST_DATABASE_URL"]))


def with_database(dsn: str, name: str) -> str:
    """Return the address of another database on the same server."""
    parts = urlsplit(dsn)
    return urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, ""))


async def create_database(name: str) -> str:
    """Make a migrated, empty database of this name from the run's template; return its address."""
    server = os.environ["TEST_DATABASE_URL"]
    connection = await asyncpg.connect(server)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", TEMPLATE):
            await connection.execute(f'CREATE DATABASE "{TEMPLATE}"')
            await _migrate(with_database(server, TEMPLATE))
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')
    finally:
        await connection.close()
    return with_database(server, name)


async def _migrate(dsn: str) -> None:
    from api_factory.db import Database, migrate

    database = Database(dsn)
    await database.open()
    await migrate(database)
    await database.close()


async def _drop_all(server: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        rows = await connection.fetch(
            "SELECT datname FROM pg_database WHERE datname LIKE $1", f"api_factory_%_{RUN}%"
        )
        for row in rows:
            await connection.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The address of this worker's migrated database, also in DATABASE_URL for the processes it starts."""
    url = asyncio.run(create_database(NAME))
    os.environ["DATABASE_URL"] = url
    yield url
    os.environ.pop("DATABASE_URL", None)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open `Database` whose tables are empty and whose clock is the real one."""
    from api_factory.db import Database

    opened = Database(database_url, pool_size=10)
    await opened.open()
    await opened.execute(_TRUNCATE)
    await opened.execute(_REAL_TIME)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The address of a Redis: TEST_REDIS_URL, or the one of this machine, or a Valkey started for the run.

    It may be in use for something else: a test names its own keys, and neither empties nor stops it.
    """
    from api_factory.embedded import EmbeddedValkey

    url = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")
    if "TEST_REDIS_URL" in os.environ or _redis_answers(url):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="af-") as directory, EmbeddedValkey(Path(directory)) as valkey:
        yield valkey.url


def _redis_answers(url: str) -> bool:
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture
def fresh_database_url() -> Iterator[str]:
    """The address of a migrated database of this one test, for processes that it starts."""
    name = f"api_factory_one_{RUN}_{secrets.token_hex(4)}"
    yield asyncio.run(create_database(name))
    asyncio.run(_drop(name))


async def _drop(name: str) -> None:
    connection = await asyncpg.connect(os.environ["TEST_DATABASE_URL"])
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out `tests/clients` unless it is named: what it needs is brought by `dev.py clients` only."""
    clients = Path(__file__).parent / "clients"
    if collection_path != clients:
        return None
    named = (config.invocation_params.dir / argument.partition("::")[0] for argument in config.args)
    return None if any(path.resolve().is_relative_to(clients.resolve()) for path in named) else True
