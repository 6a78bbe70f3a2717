"""The statements of the outbox of metered units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from api_factory.db import Database

NIL: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterWindow:
    """What one closed window adds to the meter; `counted_at` is the time that Stripe is told."""

    identifier: str
    account_id: UUID
    customer_id: str
    meter: str
    units: int
    counted_at: datetime
    state: str
    attempts: int
    lease: UUID | None
    uncertain_since: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerCount:
    """What was closed for a customer since a moment: units sent, on their way, and dead."""

    account_id: UUID
    customer_id: str
    sent_units: int
    pending_units: int
    dead_units: int


# ruff: noqa: S608 - the only text put into a statement is this list of columns
_COLUMNS: Final = ", ".join(f"w.{each.name}" for each in fields(MeterWindow))


async def accounts_to_close(db: Database, limit: int) -> tuple[UUID, ...]:
    """Return accounts whose hour or period is over and that used something since their last closing."""
    rows = await db.fetch(
        """
        SELECT account.id FROM plan JOIN account ON account.plan = plan.slug
        WHERE plan.overage = 'soft' AND plan.billed_units <> 'none' AND EXISTS (
            SELECT FROM quota LEFT JOIN meter_reading AS reading USING (account_id, period_start)
            WHERE quota.account_id = account.id AND quota.key_id = $1 AND quota.livemode
              AND quota.period_end > af_now() - interval '40 days'
              AND quota.used > coalesce(reading.judged_units, 0)
              AND (quota.period_end <= af_now()
                   OR coalesce(reading.judged_at, '-infinity') < date_trunc('hour', af_now())))
        ORDER BY account.id LIMIT $2
        """,
        NIL,
        limit,
    )
    return tuple(row["id"] for row in rows)


async def close(db: Database, account_id: UUID) -> int:
    """Close the account's window; return how many windows hold something for Stripe."""
    made: int = await db.fetchval("SELECT meter_close($1)", account_id)
    return made


async def claim_due(
    db: Database, lease: UUID, lease_seconds: float, limit: int, account_id: UUID | None
) -> tuple[MeterWindow, ...]:
    """Take windows that are due, the oldest first, for so long; of one account when asked.

    From here on nobody knows whether Stripe has them, until somebody does: `uncertain_since` is set, and
    what it was before is returned.
    """
    rows = await db.fetch(
        f"""
        WITH due AS (
            SELECT identifier, uncertain_since FROM meter_window
            WHERE state = 'pending' AND next_attempt_at <= af_now() AND ($4::uuid IS NULL OR account_id = $4)
            ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE meter_window AS w
            SET lease = $1, attempts = w.attempts + 1, next_attempt_at = af_now() + make_interval(secs => $2),
                uncertain_since = coalesce(w.uncertain_since, af_now())
            FROM due WHERE w.identifier = due.identifier RETURNING w.*
        )
        SELECT {_COLUMNS.replace("w.uncertain_since", "due.uncertain_since")}
        FROM taken AS w JOIN due USING (identifier)
        """,
        lease,
        lease_seconds,
        limit,
        account_id,
    )
    return tuple(_window(row) for row in rows)


async def finish(db: Database, window: MeterWindow, state: str, error: str | None) -> bool:
    """Write how a window ended, unless another worker has taken it since."""
    done = await db.execute(
        "UPDATE meter_window SET state = $3, last_error = $4, lease = NULL, uncertain_since = NULL,"
        " finished_at = af_now() WHERE identifier = $1 AND lease = $2",
        window.identifier,
        window.lease,
        state,
        error,
    )
    return done == "UPDATE 1"


async def put_off(
    db: Database, window: MeterWindow, error: str, pause_seconds: float, *, is_certain: bool
) -> bool:
    """Leave a window for later; `is_certain` when Stripe surely has not counted it."""
    done = await db.execute(
        "UPDATE meter_window SET last_error = $3, lease = NULL,"
        " next_attempt_at = af_now() + make_interval(secs => $4),"
        " uncertain_since = CASE WHEN $5 THEN $6 ELSE uncertain_since END"
        " WHERE identifier = $1 AND lease = $2",
        window.identifier,
        window.lease,
        error,
        pause_seconds,
        is_certain,
        # What an earlier attempt left open, one that is refused now does not settle.
        window.uncertain_since,
    )
    return done == "UPDATE 1"


async def database_now(db: Database) -> datetime:
    """Return the present moment of the database."""
    now: datetime = await db.fetchval("SELECT af_now()")
    return now


async def units_sent_in_minute(db: Database, window: MeterWindow, minute: datetime) -> int:
    """Sum the customer's windows that are counted in a minute and that Stripe is known to have."""
    units: int = await db.fetchval(
        "SELECT coalesce(sum(units), 0)::bigint FROM meter_window WHERE customer_id = $1 AND meter = $2"
        " AND counted_at >= $3 AND counted_at < $3 + interval '1 minute' AND state = 'sent'",
        window.customer_id,
        window.meter,
        minute,
    )
    return units


async def customer_counts(db: Database, since: datetime, until: datetime) -> Sequence[CustomerCount]:
    """Sum by customer what is counted from a moment on and before another."""
    rows = await db.fetch(
        "SELECT account_id, customer_id,"
        " coalesce(sum(units) FILTER (WHERE state = 'sent'), 0)::bigint AS sent_units,"
        " coalesce(sum(units) FILTER (WHERE state = 'pending'), 0)::bigint AS pending_units,"
        " coalesce(sum(units) FILTER (WHERE state = 'dead'), 0)::bigint AS dead_units"
        " FROM meter_window WHERE counted_at >= $1 AND counted_at < $2 GROUP BY 1, 2 ORDER BY 1, 2",
        since,
        until,
    )
    return [CustomerCount(**dict(row)) for row in rows]


async def counts(db: Database) -> tuple[int, int, float]:
    """Return how many windows wait, how many are dead, and for how many seconds the oldest has waited."""
    row = await db.fetchrow(
        "SELECT count(*) FILTER (WHERE state = 'pending') AS pending,"
        " count(*) FILTER (WHERE state = 'dead') AS dead,"
        " coalesce(extract(epoch FROM af_now() - min(window_end) FILTER (WHERE state = 'pending')), 0)"
        " AS oldest FROM meter_window WHERE state <> 'sent'"
    )
    return (0, 0, 0.0) if row is None else (row["pending"], row["dead"], max(0.0, float(row["oldest"])))


def _window(row: asyncpg.Record) -> MeterWindow:
    return MeterWindow(**dict(row))
