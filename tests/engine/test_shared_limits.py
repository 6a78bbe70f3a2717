"""Several engines with one store of limits: one limit, no secret in it, and service while it is away."""

from __future__ import annotations

import asyncio
import copy
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot
from starlette.requests import Request

from api.routes.health import HealthRoutes
from api_factory.actions import Catalogue, action, define
from api_factory.audit import Actor
from api_factory.credentials import Credentials
from api_factory.db import Database
from api_factory.errors import ConfigurationError, RateLimited
from api_factory.guard import Admission, Ask, Guard
from api_factory.keys import NewKey
from api_factory.limits import FailoverLimits, RedisBackend, open_wire
from api_factory.settings import Settings
from api_factory.usage import RegisteredWorker
from api_factory.wiring import Engine, build_engine
from tests.limits.conftest import Server, have_patience

BY = Actor("cli", "tests")


@action(charge="free", rate="9/hour")
async def shout(text: str) -> str:
    """Have a limit of its own."""
    return text


@action(charge="free", public=True, rate="4/hour")
async def hello() -> str:
    """Need no key."""
    return "hello"


CATALOGUE = Catalogue([define(shout), define(hello)])


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    have_patience(monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="af-") as made:
        server = Server(Path(made) / "valkey")
        server.start()
        yield server
        server.stop()


@pytest.fixture
async def engine(
    database: Database, database_url: str, tmp_path: Path, server: Server
) -> AsyncIterator[Engine]:
    """An open engine with all its background, one of two workers."""
    await database.close()
    settings = Settings(DATABASE_URL=database_url, REDIS_URL=server.url, data_dir=tmp_path)  # type: ignore[call-arg]
    engine = build_engine(settings, catalogue=CATALOGUE)
    await engine.open()
    await RegisteredWorker(engine.db).register()
    await engine._count_workers()
    yield engine
    await engine.close()
    await database.open()


@pytest.fixture
async def guards(engine: Engine, server: Server) -> AsyncIterator[list[Guard]]:
    """The guard of the engine, and that of another worker with a connection of its own to the store."""
    limits = FailoverLimits(RedisBackend(open_wire(server.url)), divisor=2)
    other = copy.copy(engine.guard)
    other._limits = limits
    yield [engine.guard, other]
    await limits.close()


@pytest.fixture
async def secret(engine: Engine) -> str:
    """A key of an account that may call 20 times an hour."""
    account = await engine.accounts.create("s@example.test", rate="20/hour", by=BY)
    new = NewKey(name="k", scopes=("RUN_ACTIONS",))
    return (await engine.keys.create(account.id, new, by=BY)).secret


async def admit(guard: Guard, secret: str | None, *names: str) -> Admission:
    found = [CATALOGUE.get(name) for name in names]
    ask = Ask(calls=tuple(one for one in found if one), key_required=secret is not None)
    return await guard.admit(Credentials(secret, "192.0.2.1"), ask, "request")


async def admitted(guard: Guard, secret: str | None, attempts: int, *names: str) -> int:
    passed = 0
    for _ in range(attempts):
        try:
            await admit(guard, secret, *names)
        except RateLimited:
            continue
        passed += 1
    return passed


def left_of(header: str) -> str:
    """Return what is left in each window, which began at most a minute ago."""
    times = [int(found) for found in re.findall(r";t=(\d+)", header)]
    assert all(3_540 <= seconds <= 3_600 for seconds in times), header
    return re.sub(r";t=\d+", "", header)


async def test_two_workers_enforce_one_limit(guards: list[Guard], secret: str) -> None:
    counts = await asyncio.gather(*(admitted(guard, secret, 30) for guard in guards))
    assert sum(counts) == 20
    with pytest.raises(RateLimited) as refusal:
        await admit(guards[0], secret)
    assert refusal.value.headers["RateLimit-Policy"] == '"hour";q=20;w=3600'
    assert left_of(refusal.value.headers["RateLimit"]) == '"hour";r=0'


async def test_the_headers_are_those_of_the_counters(guards: list[Guard], secret: str) -> None:
    headers = (await admit(guards[0], secret, "shout")).headers()
    assert headers["RateLimit-Policy"] == '"hour";q=20;w=3600, "shout-hour";q=9;w=3600'
    assert left_of(headers["RateLimit"]) == '"hour";r=19, "shout-hour";r=8'
    headers = (await admit(guards[1], secret, "shout", "shout")).headers()
    assert left_of(headers["RateLimit"]) == '"hour";r=17, "shout-hour";r=6'


async def test_the_store_sees_no_secret_and_keeps_an_accounts_counters_together(
    guards: list[Guard], secret: str, server: Server
) -> None:
    await admit(guards[0], secret, "shout")
    await admit(guards[0], None, "hello")
    with server.client() as client:
        names = {name.decode() for name in client.scan_iter()}
        content = " ".join(names) + " ".join(str(client.get(name)) for name in names)
    parts = secret.split("_")
    assert not any(part in content for part in (secret, parts[3], parts[4]))
    mine = [name for name in names if "{account:" in name]
    assert len(mine) == 2
    assert len({key_slot(name.encode()) for name in mine}) == 1
    (anonymous,) = [name for name in names if "address" in name]
    assert anonymous == "af:limit:{address:192.0.2.1}:address:192.0.2.1:hello/hello-hour/3600"


async def test_in_an_outage_the_workers_divide_the_limit_and_go_on_serving(
    engine: Engine, guards: list[Guard], secret: str, server: Server
) -> None:
    assert engine.limits.divisor == 2
    assert (await engine.readiness())["redis"].ok
    server.kill()
    assert [await admitted(guard, secret, 30) for guard in guards] == [10, 10]
    checks = await engine.readiness()
    assert {name: check.ok for name, check in checks.items()} == {
        **{"database": True, "migrations": True, "listener": True},
        "redis": False,
    }
    assert checks["redis"].detail == "is away; each worker enforces 1/2 of every limit"
    scraped = engine.metrics.render(await engine.database_gauges())[0].decode()
    assert "api_factory_limits_degraded 1.0" in scraped
    assert 'api_factory_limits_switches_total{to="memory"} 1.0' in scraped
    server.start()
    async with asyncio.timeout(30):
        while not (await engine.readiness())["redis"].ok:
            await asyncio.sleep(0.1)
    assert [await admitted(guard, secret, 30) for guard in guards] == [0, 0]
    scraped = engine.metrics.render(await engine.database_gauges())[0].decode()
    assert "api_factory_limits_degraded 0.0" in scraped


async def test_readyz_stays_200_without_the_store_and_says_so(engine: Engine, server: Server) -> None:
    request = Request({"type": "http", "method": "GET", "headers": [], "state": {}})
    routes = HealthRoutes(engine)
    well = await routes.readyz(request)
    assert (well.status_code, b'"redis":{"status":"ok"' in bytes(well.body)) == (200, True)
    server.kill()
    degraded = await routes.readyz(request)
    assert (degraded.status_code, b'"redis":{"status":"degraded"' in bytes(degraded.body)) == (200, True)
    assert b'{"status":"ready"' in bytes(degraded.body)


async def test_an_engine_opens_while_the_store_is_away(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(DATABASE_URL=database_url, REDIS_URL="unix:///nowhere.sock", data_dir=tmp_path)  # type: ignore[call-arg]
    await database.close()
    engine = build_engine(settings, catalogue=CATALOGUE)
    await engine.open()
    assert await admitted(engine.guard, None, 9, "hello") == 4
    await engine.close()
    await database.open()


def test_an_address_that_is_none_stops_the_start(tmp_path: Path) -> None:
    settings = Settings(REDIS_URL="http://:hunter2@cache", data_dir=tmp_path)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="REDIS_URL is not an address") as error:
        build_engine(settings, catalogue=Catalogue([]))
    assert "hunter2" not in str(error.value)
