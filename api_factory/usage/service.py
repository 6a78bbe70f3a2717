"""What was used: the present standing, reports over time, and the proof that counters and events agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from api_factory.db import Database
from api_factory.errors import BadUserInput, NotFound
from api_factory.ids import public_id
from api_factory.usage import store
from api_factory.usage.standing import QuotaStanding
from api_factory.usage.store import NIL, Granularity

MAX_BUCKETS = 2_000
LONGEST_NAME = 200
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """One action within one stretch of time that begins at `start` (UTC)."""

    start: datetime
    action: str
    calls: int
    errors: int
    units: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The buckets and their sums."""

    calls: int
    errors: int
    units: int
    buckets: tuple[UsageBucket, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a report is about: `since <= at < until`, of these actions and keys only."""

    since: datetime
    until: datetime
    livemode: bool = True
    actions: tuple[str, ...] | None = None
    key_ids: tuple[UUID, ...] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that does not equal the sum of what it counts."""

    account_id: str
    key_id: str | None
    livemode: bool
    period_start: datetime
    used: int
    events: int
    reserved: int
    held: int

    @property
    def units(self) -> int:
        """Return by how many units it is off."""
        return abs(self.used - self.events) + abs(self.reserved - self.held)


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of recomputing every counter from the events."""

    drift: int
    counters: int
    calls: int
    differences: tuple[Difference, ...]


class Usage:
    """Reads the ledger; nothing here changes a number."""

    def __init__(self, db: Database) -> None:
        """Take the database."""
        self._db = db

    async def standing(
        self, account_id: UUID, *, livemode: bool = True, key_id: UUID | None = None
    ) -> QuotaStanding:
        """Return the present period of an account, or of one key against its cap. Raises `NotFound`."""
        row = await store.standing(self._db, account_id, livemode=livemode, key_id=key_id or NIL)
        if row is None:
            raise NotFound
        return QuotaStanding(
            livemode=livemode,
            included=row["included"],
            used=row["used"],
            reserved=row["reserved"],
            period_start=row["period_start"],
            period_end=row["period_end"],
            reset_seconds=max(0, math.ceil(row["reset_seconds"])),
            is_hard=row["is_hard"],
        )

    async def report(self, account_id: UUID, wanted: Filter, granularity: Granularity = "DAY") -> UsageReport:
        """Sum an account's events by bucket and action. Raises `BadUserInput` for an impossible range."""
        _check_filter(wanted)
        rows = await store.buckets(
            self._db,
            account_id,
            livemode=wanted.livemode,
            since=wanted.since,
            until=wanted.until,
            granularity=granularity,
            actions=wanted.actions,
            key_ids=wanted.key_ids,
        )
        if len(rows) > MAX_BUCKETS:
            raise BadUserInput(
                "The range holds too many buckets; ask for a shorter one or a coarser granularity."
            )
        buckets = tuple(UsageBucket(*row) for row in rows)
        return UsageReport(
            calls=sum(bucket.calls for bucket in buckets),
            errors=sum(bucket.errors for bucket in buckets),
            units=sum(bucket.units for bucket in buckets),
            buckets=buckets,
        )

    async def verify(self) -> Verification:
        """Recompute every counter from the events, in one snapshot; a drift other than 0 is a fault."""
        async with self._db.transaction():
            await self._db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            counts = await store.counts(self._db)
            rows = await store.differences(self._db)
        found = tuple(_difference(dict(row)) for row in rows)
        return Verification(
            drift=sum(difference.units for difference in found),
            counters=counts["counters"] if counts else 0,
            calls=counts["calls"] if counts else 0,
            differences=found,
        )

    async def accounts_over_quota(self) -> dict[str, int]:
        """Count the accounts that have used 80 and 100 per cent of their hard quota."""
        row = await store.accounts_over(self._db)
        return {"80": row["over_80"], "100": row["over_100"]} if row else {}

    async def make_partitions(self, months_ahead: int = 2) -> int:
        """Make the months' partitions that are missing; return how many were."""
        return await store.make_partitions(self._db, months_ahead)


def _check_filter(wanted: Filter) -> None:
    if wanted.since.tzinfo is None or wanted.until.tzinfo is None:
        raise BadUserInput("Times need an offset, such as 2026-01-31T00:00:00Z.")
    if wanted.since >= wanted.until:
        raise BadUserInput("since must be earlier than until.")
    if not EARLIEST <= wanted.since < wanted.until <= LATEST:
        raise BadUserInput("Usage is kept between the years 2000 and 9000; ask for a time within.")
    for action in wanted.actions or ():
        if "\0" in action or len(action) > LONGEST_NAME:
            raise BadUserInput("actions holds what cannot be the name of one; see the catalogue.")


def _difference(row: Mapping[str, Any]) -> Difference:
    return Difference(
        account_id=public_id("acc", row["account_id"]),
        key_id=None if row["key_id"] == NIL else public_id("key", row["key_id"]),
        livemode=row["livemode"],
        period_start=row["period_start"],
        used=row["used"],
        events=row["events"],
        reserved=row["reserved"],
        held=row["held"],
    )
