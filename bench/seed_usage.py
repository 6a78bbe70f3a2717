"""Fill a ledger with events that its balances equal, and time its verification: `python -m bench.seed_usage`.

Each event row holds a batch's calls of one key and action, as the ledger writes them. `--keep NAME` leaves
the database for a look with psql.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Final

from api_factory.db import Database
from api_factory.usage import Usage
from api_factory.usage.service import Scope
from bench.ledger import payers
from bench.scratch import scratch_database

CALLS_A_ROW = 3
LONG_SECONDS = 600.0
SCOPES: Final[tuple[Scope, ...]] = ("all", "recent")

_EVENTS = """
INSERT INTO usage_event (at, account_id, key_id, livemode, period_start, action, units, calls, errors,
                         request_ids, request_units)
SELECT af_now() - make_interval(secs => n * $2::float8 / $1), account.id, api_key.id, true,
       (af_period(account.period_anchor, af_now() - make_interval(secs => n * $2::float8 / $1))).starts,
       'echo', 3 + n % 5, 3, 0, ARRAY['request-a', 'request-b', 'request-c'], ARRAY[1, 1, 1 + n % 5]
FROM generate_series(1, $1) AS n
JOIN (SELECT id, period_anchor, row_number() OVER () - 1 AS place FROM account) AS account
  ON account.place = n % $3
JOIN api_key ON api_key.account = account.id
"""

_BALANCES = """
INSERT INTO quota (account_id, key_id, livemode, period_start, period_end, hard_limit, used)
SELECT account_id, '00000000-0000-0000-0000-000000000000', livemode, period_start,
       period_start + interval '1 month', NULL, sum(units)
FROM usage_event GROUP BY 1, 3, 4
"""


async def seed(db: Database, *, rows: int, accounts: int, months: int) -> None:
    """Write so many event rows, spread evenly over accounts and the last months, and their balances."""
    for month in range(months, 0, -1):
        await _set_clock(db, f"clock_timestamp() - interval '{month} month'")
        await db.execute("SELECT usage_make_partitions(0)")
    await _set_clock(db, "clock_timestamp()")
    await payers(db, accounts)
    await db.fetch(_EVENTS, rows, months * 30 * 86_400, accounts, timeout_seconds=LONG_SECONDS)
    await db.fetch(_BALANCES, timeout_seconds=LONG_SECONDS)
    await db.fetch("ANALYZE", timeout_seconds=LONG_SECONDS)


async def _set_clock(db: Database, now: str) -> None:
    await db.execute(
        f"CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$SELECT {now}$$"
    )


async def run(rows: int, accounts: int, months: int, keep: str | None) -> dict[str, object]:
    """Seed, verify, plant a difference of 7 units, verify again; return seconds and what was found."""
    async with scratch_database(keep=keep) as db:
        started = time.perf_counter()
        await seed(db, rows=rows, accounts=accounts, months=months)
        seeded = time.perf_counter() - started
        usage = Usage(db)
        seconds: dict[str, float] = {}
        for scope in SCOPES:
            started = time.perf_counter()
            clean = await usage.verify(scope)
            seconds[scope] = round(time.perf_counter() - started, 2)
            if clean.drift:
                raise SystemExit(f"the seed itself drifts by {clean.drift} units")
        await db.execute(
            "UPDATE quota SET used = used + 7"
            " WHERE ctid = (SELECT ctid FROM quota ORDER BY period_start LIMIT 1)"
        )
        started = time.perf_counter()
        found = await usage.verify()
        size = await db.fetchval(
            "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits"
            " WHERE inhparent = 'usage_event'::regclass"
        )
        return {
            "rows": rows,
            "accounts": accounts,
            "months": months,
            "calls": found.calls,
            "counters": found.counters,
            "event_megabytes": round(size / 1e6),
            "seed_seconds": round(seeded, 1),
            "verify_seconds": seconds["all"],
            "verify_recent_seconds": seconds["recent"],
            "planted_units": 7,
            "drift_found": found.drift,
            "verify_planted_seconds": round(time.perf_counter() - started, 2),
        }


def main() -> None:
    """Run and print one line of JSON."""
    parser = argparse.ArgumentParser(description="Seed a ledger and time its verification.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--months", type=int, default=6)
    parser.add_argument("--keep", metavar="NAME", help="make this database and leave it")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(run(options.rows, options.accounts, options.months, options.keep))))


if __name__ == "__main__":
    main()
