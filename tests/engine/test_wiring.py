"""The whole engine opens, tells how it is, and closes without leaving anything behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api_factory.actions import Catalogue
from api_factory.audit import Actor
from api_factory.clock import ManualClock
from api_factory.db import Database
from api_factory.errors import ConfigurationError, Unavailable
from api_factory.keys import NewKey
from api_factory.settings import Settings
from api_factory.wiring import Engine, build_engine, embedded_database, opened

if TYPE_CHECKING:
    from collections.abc import Mapping

BY = Actor("cli", "tests")


@pytest.fixture
async def settings(database: Database, database_url: str, tmp_path: Path) -> Settings:
    await database.close()
    return Settings(DATABASE_URL=database_url, data_dir=tmp_path)  # type: ignore[call-arg]


def engine_of(settings: Settings, clock: ManualClock | None = None) -> Engine:
    return build_engine(settings, catalogue=Catalogue([]), clock=clock)


async def test_an_open_engine_is_ready_and_a_closed_one_leaves_no_task(settings: Settings) -> None:
    before = asyncio.all_tasks()
    engine = engine_of(settings)
    await engine.open()
    checks = await engine.readiness()
    assert {name: check.ok for name, check in checks.items()} == {
        "database": True,
        "migrations": True,
        "listener": True,
    }
    assert await engine.db.fetchval("SELECT count(*) FROM worker") == 1
    assert {plan.slug for plan in await engine.plans.list()} == {"free", "pro", "scale"}
    await engine.close()
    assert asyncio.all_tasks() == before
    # Signed off: nothing waits for the reaper.
    async with opened(settings) as again:
        assert await again.db.fetchval("SELECT count(*) FROM worker") == 0


async def test_readiness_names_the_part_that_is_not_ready(settings: Settings) -> None:
    engine = engine_of(settings)
    await engine.open(background=False)
    newest = await engine.db.fetchval(
        "DELETE FROM migration WHERE id = (SELECT max(id) FROM migration) RETURNING name"
    )
    checks = await engine.readiness()
    await engine.db.execute(
        "INSERT INTO migration (name, app_name, ran_on) VALUES ($1, 'api_factory', now())", newest
    )
    assert checks["database"].ok
    assert not checks["migrations"].ok
    assert "api-factory migrate" in checks["migrations"].detail
    assert not checks["listener"].ok
    await engine.db.close()
    away: Mapping[str, object] = {name: check.ok for name, check in (await engine.readiness()).items()}
    assert away == {"database": False, "migrations": False, "listener": False}


async def test_gauges_are_read_at_most_every_five_seconds_and_survive_an_outage(settings: Settings) -> None:
    clock = ManualClock()
    engine = engine_of(settings, clock)
    await engine.open(background=False)
    account = await engine.accounts.create("g@example.test", by=BY)
    clock.advance(1)
    first = await engine.database_gauges()
    assert first.keys_by_status["ACTIVE"] == 0
    await engine.keys.create(account.id, NewKey(name="k"), by=BY)
    assert (await engine.database_gauges()).keys_by_status["ACTIVE"] == 0
    clock.advance(6)
    assert (await engine.database_gauges()).keys_by_status["ACTIVE"] == 1
    await engine.db.close()
    clock.advance(6)
    assert (await engine.database_gauges()).keys_by_status["ACTIVE"] == 1


async def test_an_engine_that_cannot_open_leaves_no_pool(settings: Settings, tmp_path: Path) -> None:
    bad_plans = tmp_path / "plans.toml"
    bad_plans.write_text("plan = 3")
    engine = engine_of(settings.model_copy(update={"plans_file": bad_plans}))
    with pytest.raises(ConfigurationError):
        await engine.open()
    with pytest.raises(Unavailable):
        await engine.db.ping()


async def test_several_workers_share_a_limit_in_parts(settings: Settings) -> None:
    assert engine_of(settings.model_copy(update={"workers": 4})).limits.divisor == 4


async def test_the_background_does_its_work(settings: Settings) -> None:
    engine = engine_of(settings)
    await engine.open()
    work = {periodic.name: periodic for periodic in engine._background}
    assert set(work) == {
        *("heartbeat", "reaper", "orphans", "idempotency entries left", "expired outcomes", "last used"),
        *("live workers", "limits"),
        *("partitions", "retention", "verify", "pool gauge"),
        *("notices", "old notices", "metered units", "grace clock", "inbox retention"),
    }
    for periodic in work.values():
        await periodic._work()
    assert (await engine.database_gauges()).ledger_drift_units == 0
    await engine.close()


def test_a_configured_server_starts_no_embedded_one(tmp_path: Path) -> None:
    url = "postgresql://nobody@192.0.2.1/none"
    with embedded_database(Settings(DATABASE_URL=url, data_dir=tmp_path / "x")):  # type: ignore[call-arg]
        assert not (tmp_path / "x").exists()
