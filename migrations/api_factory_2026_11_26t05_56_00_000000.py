"""Metered units: what was judged of a period, and what Stripe is to be told."""

from __future__ import annotations

from pathlib import Path

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

from api_factory.db import Engine

ID = "2026-11-26T05:56:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Outbox of metered units"

SCRIPTS = Path(__file__).resolve().parent / "sql"


async def _run(script: str) -> None:
    engine = engine_finder()
    if not isinstance(engine, Engine):
        raise TypeError("piccolo_conf.DB must be an api_factory.db.Engine")
    await engine.run_script((SCRIPTS / script).read_text())


async def _up() -> None:
    await _run("0006_meters.sql")


async def _down() -> None:
    await _run("0006_meters_down.sql")


async def forwards() -> MigrationManager:
    """Add the outbox of metered units."""
    manager = MigrationManager(migration_id=ID, app_name="api_factory", description=DESCRIPTION)
    manager.add_raw(_up)
    manager.add_raw_backwards(_down)
    return manager
