"""Accounts and keys for the ledger, straight in the tables: its tests need no other slice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from api_factory.db import Database
from api_factory.ids import uuid7
from api_factory.usage import Ledger, Payer, RegisteredWorker, Usage


@dataclass
class Ground:
    """A database with what a ledger needs, and the ledger."""

    db: Database
    worker: RegisteredWorker
    ledger: Ledger
    usage: Usage

    async def account(
        self, quota_units: int | None = 100, *, overage: str = "hard", test_units: int = 10
    ) -> UUID:
        """Make an account on a plan of its own; return its id."""
        account_id = uuid7()
        slug = f"plan-{account_id.hex[:20]}"
        await self.db.execute(
            "INSERT INTO plan (slug, name, quota_units, test_quota_units, overage, description, price_cents,"
            " currency, billing_interval, rate, key_limit, sort_order, epoch)"
            " VALUES ($1, $1, $2, $3, $4, '', 0, 'usd', 'month', '', 50, 0, 0)",
            slug,
            quota_units,
            test_units,
            overage,
        )
        await self.db.execute(
            "INSERT INTO account (id, email, name, plan, status, period_anchor, created_at, epoch)"
            " VALUES ($1, $2, '', $3, 'ACTIVE', date_trunc('month', af_now(), 'UTC'), af_now(), 0)",
            account_id,
            f"{account_id.hex}@example.test",
            slug,
        )
        return account_id

    async def payer(self, account_id: UUID, *, livemode: bool = True, cap_units: int | None = None) -> Payer:
        """Make a key of the account; return it as who pays."""
        key_id = uuid7()
        await self.db.execute(
            "INSERT INTO api_key (id, account, name, livemode, status, scopes, cidrs, cap_units, metadata,"
            " created_at, epoch) VALUES ($1, $2, 'k', $3, 'ACTIVE', '{}', '{}', $4, '{}', af_now(), 0)",
            key_id,
            account_id,
            livemode,
            cap_units,
        )
        return Payer(account_id, key_id, livemode, 0, 0)

    async def used(self, account_id: UUID, *, livemode: bool = True) -> tuple[int, int]:
        """Return what is used and what is reserved in the present period."""
        standing = await self.usage.standing(account_id, livemode=livemode)
        return standing.used, standing.reserved

    async def drift(self) -> int:
        """Return the units by which counters and events differ."""
        return (await self.usage.verify()).drift

    async def set_time(self, shift: str) -> None:
        """Move the database's clock by an interval such as `1 month`."""
        await self.db.execute(
            "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            f"'SELECT clock_timestamp() + interval ''{shift}'''"
        )


@pytest.fixture
async def ground(database: Database) -> AsyncIterator[Ground]:
    """A registered worker and an open ledger on an empty database."""
    worker = RegisteredWorker(database)
    await worker.register()
    ledger = Ledger(database.connect, worker)
    await ledger.open()
    yield Ground(database, worker, ledger, Usage(database))
    await ledger.close()
    await worker.sign_off()
