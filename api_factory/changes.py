"""Changes that every worker must see: one counter in commit order, a mutex an account, a notification.

The epoch is a row, not a sequence: its lock makes epochs commit in the order of their numbers, so a
worker that has read epoch N and asks for `epoch > N` misses nothing. Only writes of the control plane
take it; the ledger never does.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from api_factory.db import Database

CHANNEL: Final = "api_factory_changes"
PLANS_MUTEX: Final = 1634102384
"""What `ledger_commit` takes, shared, before it reads a plan."""


async def lock_account(db: Database, account_id: UUID) -> None:
    """Wait for the ledger batches that hold this account and keep new ones out until the commit.

    The ledger takes the same advisory lock, shared, before it reads a key or an account. So once a
    transaction that called this has committed, no charge can commit on what stood before it.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))", account_id)


async def lock_plans(db: Database) -> None:
    """Wait for every ledger batch under way, and keep new ones out until the commit; before any account."""
    await db.execute("SELECT pg_advisory_xact_lock($1)", PLANS_MUTEX)


async def next_epoch(db: Database) -> int:
    """Advance the counter inside the current transaction and return it; call it last before writing."""
    epoch: int = await db.fetchval("UPDATE change_epoch SET epoch = epoch + 1 WHERE id = 1 RETURNING epoch")
    return epoch


async def notify(db: Database, epoch: int) -> None:
    """Wake the listening workers when the current transaction commits."""
    await db.execute("SELECT pg_notify($1, $2)", CHANNEL, str(epoch))


async def current_epoch(db: Database) -> int:
    """Return the newest committed epoch."""
    epoch: int = await db.fetchval("SELECT epoch FROM change_epoch WHERE id = 1")
    return epoch
