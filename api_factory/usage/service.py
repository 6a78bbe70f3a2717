"""What was used: the present standing, reports over time, and the proof that counters and events agree."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from api_factory.db import Database
from api_factory.errors import BadUserInput, NotFound
from api_factory.ids import public_id
from api_factory.usage import store
from api_factory.usage.standing import QuotaStanding
from api_factory.usage.store import NIL, Granularity

LOGGER = logging.getLogger("api_factory.usage")

MAX_BUCKETS = 2_000
LONGEST_NAME = 200
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
VERIFY_TIMEOUT_SECONDS: Final = 300.0
DRIFT_IS_KNOWN_SECONDS: Final = 3_600.0
DROP_AFTER_VERIFICATION_SECONDS: Final = 90_000.0

Scope = Literal["all", "recent"]
_DUE_SECONDS: Final[dict[Scope, float]] = {"all": 86_400.0, "recent": 590.0}


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

    async def verify(self, scope: Scope = "all") -> Verification:
        """Recompute the counters from the events, in one snapshot; a drift other than 0 is a fault.

        `recent` reads the present period and the one before it, `all` whatever is retained. Every worker's
        gauge tells what was found. Takes as long as it needs, up to `VERIFY_TIMEOUT_SECONDS`, and locks
        nothing.
        """
        started = time.perf_counter()
        async with self._db.transaction():
            await store.begin_verification(self._db, VERIFY_TIMEOUT_SECONDS)
            found = await self._recompute(scope)
        await self._remember(scope, found, time.perf_counter() - started)
        return found

    async def verify_when_due(self) -> Verification | None:
        """Verify if nobody has lately and nobody is: all once a day, the recent periods every ten minutes.

        However many workers call it, one at a time reads the events, with one process of the server.
        Returns None when nothing was due.
        """
        scope = await self._scope_due()
        if scope is None:
            return None
        started = time.perf_counter()
        async with self._db.transaction():
            await store.begin_verification(self._db, VERIFY_TIMEOUT_SECONDS)
            if not await store.try_verification_lock(self._db):
                return None
            await store.use_one_process(self._db)
            found = await self._recompute(scope)
        await self._remember(scope, found, time.perf_counter() - started)
        return found

    async def last_drift(self) -> int | None:
        """Return what the last verification found, whichever worker made it; None when that is an hour ago.

        A drift in an old period stands until all periods have been verified again.
        """
        return await store.last_drift(self._db, DRIFT_IS_KNOWN_SECONDS)

    async def _scope_due(self) -> Scope | None:
        for scope, seconds in _DUE_SECONDS.items():
            age = await store.verification_age_seconds(self._db, scope)
            if age is None or age >= seconds:
                return scope
        return None

    async def _recompute(self, scope: Scope) -> Verification:
        rows = await store.differences(
            self._db, lately=scope == "recent", timeout_seconds=VERIFY_TIMEOUT_SECONDS
        )
        found = tuple(_difference(dict(row)) for row in rows if row["account_id"] is not None)
        return Verification(
            drift=sum(difference.units for difference in found),
            counters=rows[0]["counters"],
            calls=rows[0]["calls"],
            differences=found,
        )

    async def _remember(self, scope: Scope, found: Verification, seconds: float) -> None:
        await store.remember_verification(
            self._db, scope, seconds=seconds, drift=found.drift, counters=found.counters, calls=found.calls
        )

    async def drop_events(self, months: int) -> int:
        """Drop the monthly partitions before the last whole `months`; return how many those were.

        Balances of periods that began earlier stay as they are. Only what has been verified within a day is
        dropped: while anything differs, the events are kept as evidence, with a line in the log. Raises
        `Unavailable` when the table was busy for a second; nothing is dropped then.
        """
        if not await store.has_expired_events(self._db, months):
            return 0
        drift = await store.drift_of_all(self._db, DROP_AFTER_VERIFICATION_SECONDS)
        if drift:
            LOGGER.error("expired events are kept: balances differ; run `api-factory usage verify`")
        if drift != 0:
            return 0
        async with self._db.transaction():
            return await store.drop_partitions(self._db, months)

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
