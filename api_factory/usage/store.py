"""The SQL of usage outside the ledger's one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

import asyncpg

from api_factory.db import Database, outages_as_unavailable
from api_factory.errors import InternalError
from api_factory.usage.outcomes import Entry, Finish

NIL: Final = UUID(int=0)
VERIFICATION_LOCK: Final = 0x76657269

Granularity = Literal["HOUR", "DAY", "MONTH"]

Row: TypeAlias = asyncpg.Record

_STANDING = """
SELECT period.starts AS period_start, period.ends AS period_end,
       coalesce(quota.used, 0) AS used, coalesce(quota.reserved, 0) AS reserved,
       CASE WHEN $3 <> '00000000-0000-0000-0000-000000000000'::uuid THEN api_key.cap_units
            WHEN $2 THEN coalesce(account.quota_units, account.granted_units, plan.quota_units)
            ELSE plan.test_quota_units END AS included,
       NOT $2 OR plan.overage = 'hard' OR $3 <> '00000000-0000-0000-0000-000000000000'::uuid AS is_hard,
       extract(epoch FROM period.ends - af_now())::float8 AS reset_seconds
FROM account JOIN plan ON plan.slug = account.plan
LEFT JOIN api_key ON api_key.id = $3 AND api_key.account = account.id
CROSS JOIN LATERAL af_period(account.period_anchor, af_now()) AS period
LEFT JOIN quota ON quota.account_id = account.id AND quota.key_id = $3 AND quota.livemode = $2
               AND quota.period_start = period.starts
WHERE account.id = $1
"""

_BUCKETS = """
SELECT date_trunc($5, at, 'UTC') AS start, action, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors,
       sum(units)::bigint AS units
FROM usage_event
WHERE account_id = $1 AND livemode = $2 AND at >= $3 AND at < $4
  AND ($6::text[] IS NULL OR action = ANY ($6)) AND ($7::uuid[] IS NULL OR key_id = ANY ($7))
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 2001
"""

# From when on every balance can be recomputed; $1: no longer ago than the period before the present one.
_VERIFIABLE_SINCE = """
SELECT greatest(coalesce((SELECT since FROM usage_retained), '-infinity'),
                CASE WHEN $1 THEN af_now() - interval '62 days' ELSE '-infinity' END)
"""

# Events are the truth; a counter row is right when it equals their sum and that of the open reservations.
# An event is never older than its period, so those of a period that began at $1 or later all lie after $1.
# The events are read once; the first columns are the totals, and there is a row even without a difference.
_DIFFERENCES = """
WITH by_key AS MATERIALIZED (
    SELECT account_id, key_id, livemode, period_start, sum(units)::bigint AS units, sum(calls) AS calls
    FROM usage_event WHERE at >= $1 AND period_start >= $1 GROUP BY 1, 2, 3, 4
), charged AS (
    SELECT account_id, '00000000-0000-0000-0000-000000000000'::uuid AS key_id, livemode, period_start,
           sum(units)::bigint AS units
    FROM by_key GROUP BY account_id, livemode, period_start
    UNION ALL
    SELECT by_key.account_id, key_id, by_key.livemode, period_start, units
    FROM by_key JOIN api_key ON api_key.id = key_id AND api_key.cap_units IS NOT NULL
), held AS (
    SELECT account_id, '00000000-0000-0000-0000-000000000000'::uuid AS key_id, livemode, period_start,
           sum(units)::bigint AS units
    FROM reservation WHERE state = 'open' AND period_start >= $1 GROUP BY account_id, livemode, period_start
    UNION ALL
    SELECT account_id, key_id, livemode, period_start, sum(units)::bigint
    FROM reservation WHERE state = 'open' AND period_start >= $1 AND is_capped GROUP BY 1, 2, 3, 4
), counter AS (
    SELECT account_id, key_id, livemode, period_start, used, reserved FROM quota WHERE period_start >= $1
), difference AS (
    SELECT account_id, key_id, livemode, period_start, coalesce(counter.used, 0) AS used,
           coalesce(charged.units, 0) AS events, coalesce(counter.reserved, 0) AS reserved,
           coalesce(held.units, 0) AS held
    FROM counter
    FULL JOIN charged USING (account_id, key_id, livemode, period_start)
    FULL JOIN held USING (account_id, key_id, livemode, period_start)
    WHERE coalesce(counter.used, 0) <> coalesce(charged.units, 0)
       OR coalesce(counter.reserved, 0) <> coalesce(held.units, 0)
)
SELECT total.counters, total.calls, difference.*
FROM (SELECT (SELECT count(*) FROM counter) AS counters,
             (SELECT coalesce(sum(calls), 0)::bigint FROM by_key) AS calls) AS total
LEFT JOIN difference ON true
ORDER BY account_id, key_id, livemode, period_start
"""

_REMEMBER = """
INSERT INTO verification (scope, at, seconds, drift, counters, calls) VALUES ($1, af_now(), $2, $3, $4, $5)
ON CONFLICT (scope) DO UPDATE SET at = excluded.at, seconds = excluded.seconds, drift = excluded.drift,
                                  counters = excluded.counters, calls = excluded.calls
"""


async def standing(db: Database, account_id: UUID, *, livemode: bool, key_id: UUID) -> asyncpg.Record | None:
    """Read the present period's counter of an account, or of one of its keys; None without the account."""
    return await db.fetchrow(_STANDING, account_id, livemode, key_id)


async def buckets(  # noqa: PLR0913 - one filter a column
    db: Database,
    account_id: UUID,
    *,
    livemode: bool,
    since: datetime,
    until: datetime,
    granularity: Granularity,
    actions: Sequence[str] | None,
    key_ids: Sequence[UUID] | None,
) -> Sequence[asyncpg.Record]:
    """Sum the events of `since <= at < until` by bucket and action."""
    return await db.fetch(_BUCKETS, account_id, livemode, since, until, granularity.lower(), actions, key_ids)


async def begin_verification(db: Database, timeout_seconds: float) -> None:
    """Give the present transaction one snapshot, memory for its sums, and time; it can write nothing."""
    await db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    await db.execute(
        "SELECT set_config('statement_timeout', $1, true), set_config('work_mem', '64MB', true)",
        str(round(timeout_seconds * 1000)),
    )


async def try_verification_lock(db: Database) -> bool:
    """Take the right to verify until the transaction ends; False when somebody else is verifying."""
    taken: bool = await db.fetchval("SELECT pg_try_advisory_xact_lock($1)", VERIFICATION_LOCK)
    return taken


async def use_one_process(db: Database) -> None:
    """Keep the present transaction's queries off the processors that the ledger needs."""
    await db.execute("SET LOCAL max_parallel_workers_per_gather = 0")


async def differences(db: Database, *, lately: bool, timeout_seconds: float) -> Sequence[asyncpg.Record]:
    """Recompute the counters from the events; return the totals beside each that differs, or alone."""
    since = await db.fetchval(_VERIFIABLE_SINCE, lately)
    return await db.fetch(_DIFFERENCES, since, timeout_seconds=timeout_seconds)


async def remember_verification(
    db: Database, scope: str, *, seconds: float, drift: int, counters: int, calls: int
) -> None:
    """Write down what a verification found, over what the one before it of this scope had found."""
    await db.execute(_REMEMBER, scope, seconds, drift, counters, calls)


async def verification_age_seconds(db: Database, scope: str) -> float | None:
    """Return how long ago the last verification of this scope was; None when there was none."""
    age: float | None = await db.fetchval(
        "SELECT extract(epoch FROM af_now() - at)::float8 FROM verification WHERE scope = $1", scope
    )
    return age


async def last_drift(db: Database, age_seconds: float) -> int | None:
    """Return the larger drift of the last verifications; None when none is younger than so many seconds."""
    drift: int | None = await db.fetchval(
        "SELECT max(drift) FROM verification HAVING max(at) >= af_now() - make_interval(secs => $1)",
        age_seconds,
    )
    return drift


async def drift_of_all(db: Database, age_seconds: float) -> int | None:
    """Return what the last verification of all found; None when it is older than so many seconds."""
    drift: int | None = await db.fetchval(
        "SELECT drift FROM verification WHERE scope = 'all' AND at >= af_now() - make_interval(secs => $1)",
        age_seconds,
    )
    return drift


async def drop_partitions(db: Database, months: int) -> int:
    """Drop the events before the last whole `months`; return how many partitions that were.

    The ledger waits behind it for a second at most: then it gives up, to be called again. Runs in the
    present transaction.
    """
    await db.execute("SET LOCAL lock_timeout = '1s'")
    dropped: int = await db.fetchval("SELECT usage_drop_partitions($1)", months)
    return dropped


async def has_expired_events(db: Database, months: int) -> bool:
    """Tell whether there are events from before the last whole `months`."""
    found: bool = await db.fetchval(
        "SELECT EXISTS (SELECT FROM usage_event WHERE at < (date_trunc('month', af_now() AT TIME ZONE 'UTC')"
        " - make_interval(months => $1)) AT TIME ZONE 'UTC')",
        months,
    )
    return found


_OVER = """
SELECT count(*) FILTER (WHERE used::numeric * 100 >= hard::numeric * 80) AS over_80,
       count(*) FILTER (WHERE used >= hard) AS over_100
FROM (SELECT quota.used, coalesce(account.quota_units, account.granted_units, plan.quota_units) AS hard
      FROM quota JOIN account ON account.id = quota.account_id
      JOIN plan ON plan.slug = account.plan AND plan.overage = 'hard'
      WHERE quota.key_id = $1 AND quota.livemode AND quota.period_end > af_now()
        AND quota.used > 0) AS present
WHERE hard IS NOT NULL
"""


async def accounts_over(db: Database) -> asyncpg.Record | None:
    """Count the accounts that have used 80 and 100 per cent of the hard quota they have now."""
    return await db.fetchrow(_OVER, NIL)


async def insert_worker(db: Database, worker_id: UUID, host: str, pid: int) -> None:
    """Register a worker; its first heartbeat is now."""
    await db.execute(
        "INSERT INTO worker (id, host, pid, started_at, heartbeat_at) "
        "VALUES ($1, $2, $3, af_now(), af_now())",
        worker_id,
        host,
        pid,
    )


async def beat(connection: asyncpg.Connection, worker_id: UUID) -> bool:
    """Renew a worker's lease; False when it has been given up already."""
    with outages_as_unavailable():
        tag = await connection.execute("UPDATE worker SET heartbeat_at = af_now() WHERE id = $1", worker_id)
    return tag == "UPDATE 1"


async def count_live_workers(db: Database, lease_seconds: float) -> int:
    """Return how many workers have been heard of within the lease."""
    count: int = await db.fetchval(
        "SELECT count(*) FROM worker WHERE heartbeat_at >= af_now() - make_interval(secs => $1)",
        lease_seconds,
    )
    return count


async def delete_worker(db: Database, worker_id: UUID) -> None:
    """Sign a worker off."""
    await db.execute("DELETE FROM worker WHERE id = $1", worker_id)


async def reap(db: Database, lease_seconds: float) -> int:
    """Void what dead workers hold and give it back; return how many reservations that were."""
    voided: int = await db.fetchval("SELECT ledger_reap(make_interval(secs => $1))", lease_seconds)
    return voided


async def delete_closed_reservations(db: Database, age_days: int) -> None:
    """Delete reservations that were closed before so many days; the events keep what they charged."""
    await db.execute(
        "DELETE FROM reservation WHERE state <> 'open' AND closed_at < af_now() - make_interval(days => $1)",
        age_days,
    )


async def make_partitions(db: Database, months_ahead: int) -> int:
    """Make the partitions of this month and of those ahead; return how many were missing."""
    made: int = await db.fetchval("SELECT usage_make_partitions($1)", months_ahead)
    return made


@dataclass(frozen=True, slots=True)
class Beginning:
    """What `begin_entry` tells the database about a new attempt."""

    entry: Entry
    account_id: UUID
    fingerprint: bytes
    worker_id: UUID
    request_id: str
    key_epoch: int
    account_epoch: int
    ttl_seconds: float
    longest_seconds: float


async def begin_entry(db: Database, beginning: Beginning) -> Row:
    """Take an idempotency entry or learn why not; one row with a verdict and, for a replay, the outcome."""
    row = await db.fetchrow(
        "SELECT * FROM idempotency_begin($1, $2, $3, $4, $5, $6, $7, $8, $9,"
        " make_interval(secs => $10), make_interval(secs => $11))",
        beginning.entry.key_id,
        beginning.entry.name,
        beginning.account_id,
        beginning.fingerprint,
        beginning.entry.attempt,
        beginning.worker_id,
        beginning.request_id,
        beginning.key_epoch,
        beginning.account_epoch,
        beginning.ttl_seconds,
        beginning.longest_seconds,
    )
    if row is None:
        raise InternalError
    return row


async def finish_entry(db: Database, finish: Finish) -> bool:
    """Store the outcome of an entry without a charge; False when the attempt does not own it any more."""
    tag = await db.execute(
        "UPDATE idempotency SET state = 'done', status = $4, code = $5, media = $6, body = $7 "
        "WHERE key_id = $1 AND name = $2 AND attempt = $3 AND state = 'running'",
        finish.entry.key_id,
        finish.entry.name,
        finish.entry.attempt,
        finish.status,
        finish.code,
        finish.media,
        finish.body,
    )
    return tag == "UPDATE 1"


async def delete_running_entry(db: Database, entry: Entry) -> None:
    """Delete an entry while this attempt owns it and has not finished it."""
    await db.execute(
        "DELETE FROM idempotency WHERE key_id = $1 AND name = $2 AND attempt = $3 AND state = 'running'",
        entry.key_id,
        entry.name,
        entry.attempt,
    )


async def delete_expired_entries(db: Database, most: int) -> int:
    """Delete at most so many expired entries, passing over those in use; return how many were deleted."""
    tag = await db.execute(
        "DELETE FROM idempotency WHERE (key_id, name) IN (SELECT key_id, name FROM idempotency "
        "WHERE expires_at <= af_now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
        most,
    )
    return int(tag.removeprefix("DELETE "))
