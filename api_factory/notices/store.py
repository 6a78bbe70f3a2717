"""The statements of the outbox of notices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from api_factory.db import Database
from api_factory.ids import uuid7
from api_factory.notices.model import Channel, Delivery, NewNotice, Notice

# ruff: noqa: S608 - the only text put into a statement is this list of columns
_DELIVERY: Final = (
    "notice.id, notice.kind, notice.account_id, notice.facts, notice.created_at, delivery.channel, "
    "delivery.recipient, delivery.state, delivery.attempts, delivery.next_attempt_at, delivery.last_error, "
    "delivery.lease"
)


async def insert_once(
    db: Database, new: NewNotice, *, has_hook: bool, owners: Sequence[str], mails_customers: bool
) -> bool:
    """Insert a notice and its deliveries, due now; return False when its transition was told before."""
    notice_id: UUID | None = await db.fetchval(
        """
        WITH notice AS (
            INSERT INTO notice (id, kind, dedupe_key, account_id, facts, created_at)
            VALUES ($1, $2, $3, $4, $5, af_now())
            ON CONFLICT (dedupe_key) DO NOTHING RETURNING id, account_id, created_at
        ), delivery AS (
            INSERT INTO notice_delivery (notice_id, channel, recipient, next_attempt_at)
            SELECT notice.id, way.channel, way.recipient, notice.created_at
            FROM notice CROSS JOIN LATERAL (
                SELECT 'webhook', '' WHERE $6
                UNION ALL SELECT 'owner_mail', owner FROM unnest($7::text[]) AS owner
                UNION ALL SELECT 'customer_mail', account.email FROM account
                          WHERE $8 AND account.id = notice.account_id) AS way (channel, recipient)
        )
        SELECT id FROM notice
        """,
        uuid7(),
        new.kind,
        new.dedupe_key,
        new.account_id,
        orjson.dumps(dict(new.facts), default=str).decode(),
        has_hook,
        list(owners),
        mails_customers,
    )
    return notice_id is not None


async def claim_due(db: Database, lease: UUID, lease_seconds: float, limit: int) -> tuple[Delivery, ...]:
    """Take deliveries that are due, the longest waiting first, for so long; each to one worker."""
    rows = await db.fetch(
        f"""
        WITH due AS (
            SELECT notice_id, channel, recipient FROM notice_delivery
            WHERE state = 'pending' AND next_attempt_at <= af_now()
            ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE notice_delivery AS delivery
        SET lease = $1, attempts = attempts + 1, next_attempt_at = af_now() + make_interval(secs => $2)
        FROM due JOIN notice ON notice.id = due.notice_id
        WHERE (delivery.notice_id, delivery.channel, delivery.recipient)
            = (due.notice_id, due.channel, due.recipient)
        RETURNING {_DELIVERY}
        """,
        lease,
        lease_seconds,
        limit,
    )
    return tuple(_delivery(row) for row in rows)


async def finish(
    db: Database, taken: Delivery, state: str, *, error: str | None, pause_seconds: float
) -> bool:
    """Write how an attempt ended, unless another worker has taken the delivery since."""
    done = await db.execute(
        "UPDATE notice_delivery SET state = $5, last_error = $6, lease = NULL,"
        " next_attempt_at = af_now() + make_interval(secs => $7),"
        " finished_at = CASE WHEN $5 <> 'pending' THEN af_now() END"
        " WHERE notice_id = $1 AND channel = $2 AND recipient = $3 AND lease = $4",
        taken.notice.id,
        taken.channel.value,
        taken.recipient or "",
        taken.lease,
        state,
        error,
        pause_seconds,
    )
    return done == "UPDATE 1"


async def newest(db: Database, state: str | None, limit: int) -> tuple[Delivery, ...]:
    """Return the newest deliveries, of one state when asked."""
    rows = await db.fetch(
        f"SELECT {_DELIVERY} FROM notice_delivery AS delivery JOIN notice ON notice.id = delivery.notice_id"
        " WHERE $1::text IS NULL OR delivery.state = $1"
        " ORDER BY notice.created_at DESC, notice.id, delivery.channel, delivery.recipient LIMIT $2",
        state,
        limit,
    )
    return tuple(_delivery(row) for row in rows)


async def of_key(db: Database, dedupe_key: str) -> tuple[Delivery, ...]:
    """Return the deliveries of a notice."""
    rows = await db.fetch(
        f"SELECT {_DELIVERY} FROM notice_delivery AS delivery JOIN notice ON notice.id = delivery.notice_id"
        " WHERE notice.dedupe_key = $1 ORDER BY delivery.channel, delivery.recipient",
        dedupe_key,
    )
    return tuple(_delivery(row) for row in rows)


async def make_due(db: Database, notice_id: UUID) -> int:
    """Make every delivery of a notice due again that has ended; return how many that were."""
    done = await db.execute(
        "UPDATE notice_delivery SET state = 'pending', attempts = 0, next_attempt_at = af_now(),"
        " finished_at = NULL WHERE notice_id = $1 AND state <> 'pending'",
        notice_id,
    )
    return int(done.removeprefix("UPDATE "))


async def exists(db: Database, notice_id: UUID) -> bool:
    """Tell whether there is such a notice."""
    return bool(await db.fetchval("SELECT EXISTS (SELECT FROM notice WHERE id = $1)", notice_id))


async def delete_older(db: Database, days: int) -> int:
    """Delete the notices older than so many days of which nothing is under way; return how many."""
    done = await db.execute(
        "DELETE FROM notice WHERE created_at < af_now() - make_interval(days => $1) AND NOT EXISTS"
        " (SELECT FROM notice_delivery AS delivery"
        "  WHERE delivery.notice_id = notice.id AND delivery.state = 'pending')",
        days,
    )
    return int(done.removeprefix("DELETE "))


async def counts(db: Database) -> tuple[int, int, float]:
    """Return how many deliveries wait, how many are dead, and for how many seconds the oldest is due."""
    row = await db.fetchrow(
        "SELECT count(*) FILTER (WHERE state = 'pending') AS pending,"
        " count(*) FILTER (WHERE state = 'dead') AS dead,"
        " coalesce(extract(epoch FROM af_now() - min(next_attempt_at) FILTER (WHERE state = 'pending')), 0)"
        " AS oldest FROM notice_delivery WHERE state <> 'delivered'"
    )
    return (0, 0, 0.0) if row is None else (row["pending"], row["dead"], max(0.0, float(row["oldest"])))


def _delivery(row: asyncpg.Record) -> Delivery:
    created_at: datetime = row["created_at"]
    notice = Notice(
        id=row["id"],
        kind=row["kind"],
        account_id=row["account_id"],
        facts=orjson.loads(row["facts"]),
        created_at=created_at,
    )
    return Delivery(
        notice=notice,
        channel=Channel(row["channel"]),
        recipient=row["recipient"] or None,
        state=row["state"],
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        last_error=row["last_error"],
        lease=row["lease"],
    )
