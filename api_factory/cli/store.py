"""What the doctor asks a database."""

from __future__ import annotations

from datetime import datetime

from api_factory.db import Database


async def server_version(db: Database) -> int:
    """Return the server's version as a number, such as 150008 for 15.8."""
    return int(await db.fetchval("SELECT current_setting('server_version_num')"))


async def server_time(db: Database) -> datetime:
    """Return what the server's clock shows."""
    moment: datetime = await db.fetchval("SELECT clock_timestamp()")
    return moment


async def pepper_versions(db: Database) -> list[int]:
    """Return the versions of the pepper that secrets which still work were hashed under, ascending."""
    rows = await db.fetch(
        """
        SELECT DISTINCT secret.pepper_version AS version
        FROM api_key_secret AS secret JOIN api_key ON api_key.id = secret.key
        WHERE (secret.not_after IS NULL OR secret.not_after > af_now()) AND api_key.revoked_at IS NULL
        ORDER BY version
        """
    )
    return [row["version"] for row in rows]


async def newest_event_at(db: Database) -> datetime | None:
    """Return when the newest event of Stripe was made that arrived here, or None."""
    moment: datetime | None = await db.fetchval("SELECT max(created_at) FROM stripe_event")
    return moment


async def has_event(db: Database, event_id: str) -> bool:
    """Tell whether an event of Stripe arrived here."""
    return bool(await db.fetchval("SELECT EXISTS (SELECT FROM stripe_event WHERE event_id = $1)", event_id))


async def count_of_other_mode(db: Database, livemode: bool) -> int:
    """Count the subscriptions that were bought in the other of Stripe's modes."""
    return int(await db.fetchval("SELECT count(*) FROM subscription WHERE livemode <> $1", livemode))


async def unmapped_prices(db: Database) -> list[str]:
    """Return the prices that somebody pays and that no plan is known of."""
    rows = await db.fetch(
        "SELECT DISTINCT price_id FROM subscription WHERE attention = 'unknown_price' AND state <> 'ended'"
        " AND price_id IS NOT NULL ORDER BY 1"
    )
    return [row["price_id"] for row in rows]


async def troubled_events(db: Database) -> tuple[int, int]:
    """Count the events that wait for a person and those that failed for days."""
    row = await db.fetchrow(
        "SELECT count(*) FILTER (WHERE state = 'needs_attention') AS waiting,"
        " count(*) FILTER (WHERE state = 'dead') AS dead FROM stripe_event"
        " WHERE state IN ('needs_attention', 'dead')"
    )
    return (0, 0) if row is None else (row["waiting"], row["dead"])


async def missing_partitions(db: Database) -> list[str]:
    """Return the months, this one and the next, that have no partition of `usage_event`."""
    rows = await db.fetch(
        """
        SELECT name FROM (
            SELECT to_char(date_trunc('month', af_now() AT TIME ZONE 'UTC') + make_interval(months => ahead),
                           'YYYY_MM') AS name
            FROM generate_series(0, 1) AS ahead
        ) AS months
        WHERE to_regclass('usage_event_' || name) IS NULL ORDER BY name
        """
    )
    return [row["name"] for row in rows]
