"""The SQL of usage outside the ledger's one function."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import asyncpg

from api_factory.db import Database, outages_as_unavailable

NIL: Final = UUID(int=0)

Granularity = Literal["HOUR", "DAY", "MONTH"]

_STANDING = """
SELECT period.starts AS period_start, period.ends AS period_end,
       coalesce(quota.used, 0) AS used, coalesce(quota.reserved, 0) AS reserved,
       CASE WHEN $3 <> '00000000-0000-0000-0000-000000000000'::uuid THEN api_key.cap_units
            WHEN $2 THEN coalesce(account.quota_units, plan.quota_units)
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

# Events are the truth; a counter row is right when it equals their sum and that of the open reservations.
_DIFFERENCES = """
WITH charged AS (
    SELECT account_id, '00000000-0000-0000-0000-000000000000'::uuid AS key_id, livemode, period_start,
           sum(units)::bigint AS units
    FROM usage_event GROUP BY account_id, livemode, period_start
    UNION ALL
    SELECT event.account_id, event.key_id, event.livemode, event.period_start, sum(event.units)::bigint
    FROM usage_event AS event JOIN api_key ON api_key.id = event.key_id AND api_key.cap_units IS NOT NULL
    GROUP BY 1, 2, 3, 4
), held AS (
    SELECT account_id, '00000000-0000-0000-0000-000000000000'::uuid AS key_id, livemode, period_start,
           sum(units)::bigint AS units
    FROM reservation WHERE state = 'open' GROUP BY account_id, livemode, period_start
    UNION ALL
    SELECT account_id, key_id, livemode, period_start, sum(units)::bigint
    FROM reservation WHERE state = 'open' AND is_capped GROUP BY 1, 2, 3, 4
)
SELECT coalesce(quota.account_id, charged.account_id, held.account_id) AS account_id,
       coalesce(quota.key_id, charged.key_id, held.key_id) AS key_id,
       coalesce(quota.livemode, charged.livemode, held.livemode) AS livemode,
       coalesce(quota.period_start, charged.period_start, held.period_start) AS period_start,
       coalesce(quota.used, 0) AS used, coalesce(charged.units, 0) AS events,
       coalesce(quota.reserved, 0) AS reserved, coalesce(held.units, 0) AS held
FROM quota
FULL JOIN charged USING (account_id, key_id, livemode, period_start)
FULL JOIN held USING (account_id, key_id, livemode, period_start)
WHERE coalesce(quota.used, 0) <> coalesce(charged.units, 0)
   OR coalesce(quota.reserved, 0) <> coalesce(held.units, 0)
ORDER BY 1, 2, 3, 4
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


async def differences(db: Database) -> Sequence[asyncpg.Record]:
    """Recompute every counter from the events; return those that differ."""
    return await db.fetch(_DIFFERENCES)


async def counts(db: Database) -> asyncpg.Record | None:
    """Count the counters and the calls they are recomputed from."""
    return await db.fetchrow(
        "SELECT (SELECT count(*) FROM quota) AS counters, "
        "(SELECT coalesce(sum(calls), 0)::bigint FROM usage_event) AS calls"
    )


_OVER = """
SELECT count(*) FILTER (WHERE used::numeric * 100 >= hard::numeric * 80) AS over_80,
       count(*) FILTER (WHERE used >= hard) AS over_100
FROM (SELECT quota.used, coalesce(account.quota_units, plan.quota_units) AS hard
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
