"""The statements of comparisons with Stripe."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import orjson

from api_factory.billing.model import Difference
from api_factory.db import Database

_MUTEX: Final = 0x7265636F
"""One process at a time decides whether a comparison is due."""


async def begin(db: Database, kind: str, *, is_applied: bool, at_most_every: timedelta | None) -> UUID | None:
    """Begin a comparison, or return None when one of this kind began within the time."""
    await db.execute("SELECT pg_advisory_xact_lock($1)", _MUTEX)
    run: UUID | None = await db.fetchval(
        "INSERT INTO reconcile_run (id, kind, started_at, is_applied)"
        " SELECT $1, $2::text, af_now(), $3 WHERE $4::interval IS NULL OR NOT EXISTS ("
        "  SELECT FROM reconcile_run WHERE kind = $2::text AND started_at > af_now() - $4::interval)"
        " RETURNING id",
        uuid4(),
        kind,
        is_applied,
        at_most_every,
    )
    return run


async def end(
    db: Database, run: UUID, *, checked: int, found: int, watermark: datetime | None, error: str | None
) -> None:
    """Write how a comparison ended."""
    await db.execute(
        "UPDATE reconcile_run SET ended_at = af_now(), checked = $2, found = $3, watermark = $4, error = $5"
        " WHERE id = $1",
        run,
        checked,
        found,
        watermark,
        error,
    )


async def watermark(db: Database) -> datetime | None:
    """Return up to which of Stripe's moments every event is in the inbox, or None."""
    moment: datetime | None = await db.fetchval(
        "SELECT max(watermark) FROM reconcile_run WHERE kind = 'events' AND error IS NULL"
    )
    return moment


async def insert_difference(db: Database, run: UUID, difference: Difference) -> None:
    """Write one difference."""
    await db.execute(
        "INSERT INTO reconcile_difference (run, kind, subscription_id, customer_id, account_id, here, there)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        run,
        difference.kind,
        difference.subscription_id,
        difference.customer_id,
        difference.account_id,
        _json(difference.here),
        _json(difference.there),
    )


async def last_found(db: Database) -> int | None:
    """Return how many differences the last whole comparison of subscriptions found, or None."""
    found: int | None = await db.fetchval(
        "SELECT found FROM reconcile_run WHERE kind = 'subscriptions' AND ended_at IS NOT NULL"
        " AND error IS NULL ORDER BY started_at DESC LIMIT 1"
    )
    return found


async def accounts_with_current(db: Database) -> tuple[UUID, ...]:
    """Return every account whose plan follows a subscription."""
    rows: list[asyncpg.Record] = list(
        await db.fetch("SELECT account FROM subscription WHERE is_current ORDER BY account")
    )
    return tuple(row["account"] for row in rows)


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value, default=str).decode()
