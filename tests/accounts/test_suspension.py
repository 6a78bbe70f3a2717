"""A suspension and a charge of the same account never pass each other."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_factory.accounts import load_plans
from api_factory.actions import Catalogue, action, define
from api_factory.audit import Actor
from api_factory.credentials import Credentials
from api_factory.db import Database
from api_factory.errors import AccountSuspended
from api_factory.guard import Admission, Ask
from api_factory.keys import NewKey
from api_factory.settings import Settings
from api_factory.wiring import Engine, build_engine

WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@action(units=2)
async def work() -> str:
    """Do something that costs."""
    return "done"


@pytest.fixture
async def engine(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Engine]:
    settings = Settings(_env_file=None, DATABASE_URL=database_url, data_dir=tmp_path)  # type: ignore[call-arg]
    engine = build_engine(settings, catalogue=Catalogue([define(work)]))
    # One pool for a process: the engine's takes the place of the fixture's.
    await database.close()
    await engine.open()
    yield engine
    await engine.close()
    await database.open()


async def admitted(engine: Engine, by: Actor) -> Admission:
    """Make an account with a key, and let one call of it in and run it."""
    await engine.plans.apply(load_plans(None), by=by)
    account = await engine.accounts.create("owner@example.com", by=by)
    issued = await engine.keys.create(account.id, NewKey(name="k"), by=by)
    ask = Ask(calls=tuple(engine.catalogue), scopes=frozenset({"RUN_ACTIONS"}))
    admission = await engine.guard.admit(Credentials(issued.secret, "192.0.2.1"), ask, "request")
    await admission.run(0, {})
    return admission


async def test_a_charge_waits_for_a_suspension_under_way_and_is_then_refused(
    engine: Engine, by: Actor
) -> None:
    admission = await admitted(engine, by)
    account_id = admission.payer.account_id
    observer = await engine.db.connect()
    try:
        async with engine.db.transaction():
            await engine.accounts.suspend(account_id, reason="unpaid", by=by)
            # In a context of its own: it must not join the transaction of the suspension.
            settlement = asyncio.get_running_loop().create_task(
                engine.guard.settle(admission), context=contextvars.Context()
            )
            async with asyncio.timeout(30):
                while not await observer.fetchval(WAITING):
                    await asyncio.sleep(0.01)
            assert not settlement.done()
        with pytest.raises(AccountSuspended):
            await settlement
    finally:
        await observer.close()
    assert (await engine.usage.standing(account_id)).used == 0


async def test_a_suspension_waits_for_the_charge_that_is_being_committed(engine: Engine, by: Actor) -> None:
    admission = await admitted(engine, by)
    account_id = admission.payer.account_id
    ledger = await engine.db.connect()
    try:
        async with ledger.transaction():
            await ledger.execute(
                "SELECT pg_advisory_xact_lock_shared(hashtextextended($1::uuid::text, 0))", account_id
            )
            suspension = asyncio.create_task(engine.accounts.suspend(account_id, reason="unpaid", by=by))
            async with asyncio.timeout(30):
                while not await ledger.fetchval(WAITING):
                    await asyncio.sleep(0.01)
            assert (await engine.accounts.get(account_id)).status == "ACTIVE"
            assert not suspension.done()
        assert (await suspension).status == "SUSPENDED"
    finally:
        await ledger.close()
