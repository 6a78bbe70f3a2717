"""The statements of the inbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from api_factory.billing.model import ClaimedEvent, EventSource, ReceivedEvent
from api_factory.db import Database

# ruff: noqa: S608 - the only text put into a statement is this list of columns
_CLAIMED: Final = (
    "event.seq, event.event_id, event.type, event.livemode, event.customer_id, event.subscription_id,"
    " event.object_id, event.attempts, event.lease, event.body, event.source, event.created_at"
)


async def insert_once(
    db: Database, event: ReceivedEvent, source: EventSource, state: str, remark: str | None
) -> int | None:
    """Insert an event in a state; return its number, or None when it is there already."""
    seq: int | None = await db.fetchval(
        "INSERT INTO stripe_event (event_id, type, livemode, api_version, line, customer_id, subscription_id,"
        " object_id, source, body, created_at, received_at, next_attempt_at, state, last_error, finished_at)"
        " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now_at, now_at, $12::text, $13,"
        " CASE WHEN $12::text <> 'pending' THEN now_at END FROM af_now() AS now_at"
        " ON CONFLICT (event_id) DO NOTHING RETURNING seq",
        event.id,
        event.type,
        event.livemode,
        event.api_version,
        event.line,
        event.customer_id,
        event.subscription_id,
        event.object_id,
        source,
        event.body,
        event.created_at,
        state,
        remark,
    )
    return seq


async def count_delivery(db: Database, event_id: str) -> None:
    """Remember that an event was delivered once more."""
    await db.execute(
        "UPDATE stripe_event SET delivery_count = delivery_count + 1 WHERE event_id = $1", event_id
    )


async def claim(db: Database, lease: UUID, lease_seconds: float) -> ClaimedEvent | None:
    """Take the first event that is due and whose line is free, or None.

    A line is free when none of its events is being worked on under a lease that lasts, and none that came
    earlier waits. Two workers never take the same event: one locks its row, the other skips it.
    """
    row = await db.fetchrow(
        f"""
        WITH next AS (
            SELECT event.seq FROM stripe_event AS event
            WHERE (event.state = 'pending' AND event.next_attempt_at <= af_now()
                   OR event.state = 'processing' AND event.locked_until <= af_now())
              AND NOT EXISTS (
                  SELECT FROM stripe_event AS other
                  WHERE other.line = event.line AND other.seq <> event.seq
                    AND other.state IN ('pending', 'processing')
                    AND (other.seq < event.seq
                         OR other.state = 'processing' AND other.locked_until > af_now()))
            ORDER BY event.seq LIMIT 1 FOR UPDATE OF event SKIP LOCKED)
        UPDATE stripe_event AS event
        SET state = 'processing', lease = $1, locked_until = af_now() + make_interval(secs => $2),
            attempts = attempts + 1
        FROM next WHERE event.seq = next.seq
        RETURNING {_CLAIMED}
        """,
        lease,
        lease_seconds,
    )
    return None if row is None else ClaimedEvent(**dict(row))


async def lock_claimed(db: Database, seq: int, lease: UUID) -> bool:
    """Lock an event until the transaction ends; say whether the lease is still the one that holds it."""
    found = await db.fetchval(
        "SELECT true FROM stripe_event WHERE seq = $1 AND state = 'processing' AND lease = $2 FOR UPDATE",
        seq,
        lease,
    )
    return found is True


async def finish(db: Database, seq: int, state: str, remark: str | None) -> None:
    """End the work on an event that is locked."""
    await db.execute(
        "UPDATE stripe_event SET state = $2, last_error = $3, lease = NULL, locked_until = NULL,"
        " finished_at = af_now() WHERE seq = $1",
        seq,
        state,
        remark,
    )


async def finish_followers(
    db: Database, leader: ClaimedEvent, fetched_at: datetime, hinting: Sequence[str]
) -> tuple[str, ...]:
    """End the events of a line that had come before its customer was fetched; return their types.

    What they tell of had happened by then, so it was fetched. Those that hint at more are left.
    """
    rows = await db.fetch(
        "WITH follower AS ("
        " SELECT seq FROM stripe_event WHERE state = 'pending' AND seq > $1 AND received_at < $2"
        " AND line = (SELECT line FROM stripe_event WHERE seq = $1) AND type <> ALL ($3::text[])"
        " FOR UPDATE SKIP LOCKED)"
        " UPDATE stripe_event AS event SET state = 'done', finished_at = af_now(), last_error = NULL"
        " FROM follower WHERE event.seq = follower.seq RETURNING event.type",
        leader.seq,
        fetched_at,
        list(hinting),
    )
    return tuple(row["type"] for row in rows)


async def give_back(
    db: Database, seq: int, lease: UUID, wait_seconds: float, remark: str, *, counts: bool
) -> bool:
    """Let an event be claimed again after a while; say whether the lease still held it.

    One that does not count leaves the attempts as they were before it.
    """
    tag = await db.execute(
        "UPDATE stripe_event SET state = 'pending', lease = NULL, locked_until = NULL, last_error = $4,"
        " next_attempt_at = af_now() + make_interval(secs => $3),"
        " attempts = attempts - CASE WHEN $5 THEN 0 ELSE 1 END"
        " WHERE seq = $1 AND lease = $2 AND state = 'processing'",
        seq,
        lease,
        wait_seconds,
        remark,
        counts,
    )
    return tag == "UPDATE 1"


async def reopen(db: Database, event_id: str) -> tuple[str, str] | None:
    """Make a finished event due now; return its type and the state it was in, None when it is not there.

    One that waits already is made due; one that is being worked on stays with whoever works on it.
    """
    row = await db.fetchrow(
        "WITH found AS (SELECT seq, type, state FROM stripe_event WHERE event_id = $1 FOR UPDATE),"
        " reopened AS ("
        " UPDATE stripe_event SET state = 'pending', attempts = 0, next_attempt_at = af_now(),"
        " last_error = NULL, finished_at = NULL FROM found"
        " WHERE stripe_event.seq = found.seq AND found.state <> 'processing')"
        " SELECT type, state FROM found",
        event_id,
    )
    return None if row is None else (row["type"], row["state"])


async def state(db: Database, event_id: str) -> str | None:
    """Return the state of an event, or None."""
    found: str | None = await db.fetchval("SELECT state FROM stripe_event WHERE event_id = $1", event_id)
    return found


async def missing(db: Database, event_ids: list[str]) -> frozenset[str]:
    """Return those of the events that are not in the inbox."""
    rows = await db.fetch(
        "SELECT id FROM unnest($1::text[]) AS id"
        " WHERE NOT EXISTS (SELECT FROM stripe_event WHERE event_id = id)",
        event_ids,
    )
    return frozenset(row["id"] for row in rows)


async def gauges(db: Database) -> asyncpg.Record | None:
    """Count what waits and what is dead, and return the age in seconds of what has waited longest."""
    return await db.fetchrow(
        "SELECT count(*) FILTER (WHERE state IN ('pending', 'processing')) AS pending,"
        " count(*) FILTER (WHERE state = 'dead') AS dead,"
        " coalesce(extract(epoch FROM af_now() - min(received_at)"
        " FILTER (WHERE state IN ('pending', 'processing'))), 0)::float8 AS oldest_seconds"
        " FROM stripe_event WHERE state IN ('pending', 'processing', 'needs_attention', 'dead')"
    )


async def delete_finished(db: Database, days: int) -> None:
    """Forget what was finished more than so many days ago; Stripe's own record lasts for 30."""
    await db.execute(
        "DELETE FROM stripe_event WHERE state IN ('done', 'skipped')"
        " AND finished_at < af_now() - make_interval(days => $1)",
        days,
    )


async def now(db: Database) -> datetime:
    """Return the moment by the database's clock."""
    moment: datetime = await db.fetchval("SELECT af_now()")
    return moment
