"""The statements of dunning episodes and of the payments that this server asks for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final
from uuid import UUID

import asyncpg

from api_factory.billing.model import Episode, Stage, WantedAttempt
from api_factory.db import Database

# ruff: noqa: S608 - the only texts put into a statement are the names of columns
_REFERENCES: Final = {"account_id": "account", "subscription_id": "subscription"}
_NAMES: Final = tuple(_REFERENCES.get(each.name, each.name) for each in fields(Episode))
_COLUMNS: Final = ", ".join(_NAMES)
_PLACES: Final = ", ".join(f"${place}" for place in range(1, len(_NAMES) + 1))
# What an episode began with never changes.
_KEPT: Final = frozenset(
    {"id", "account", "subscription", "opened_at", "grace_ends_at", "invoice_id", "failed_payment_method_id"}
)
_CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in _NAMES if name not in _KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedAttempt:
    """A payment to ask for, under a lease."""

    id: UUID
    episode_id: UUID
    account_id: UUID
    customer_id: str
    idempotency_key: str
    cause: str
    invoice_id: str
    payment_method_id: str | None
    tries: int
    lease: UUID


async def open_of_account(db: Database, account_id: UUID) -> tuple[Episode, ...]:
    """Return the open episodes of an account, the oldest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM dunning_episode WHERE account = $1 AND closed_at IS NULL"
        " ORDER BY opened_at, id",
        account_id,
    )
    return tuple(_episode(row) for row in rows)


async def of_account(db: Database, account_id: UUID) -> tuple[Episode, ...]:
    """Return every episode of an account, the oldest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM dunning_episode WHERE account = $1 ORDER BY opened_at, id", account_id
    )
    return tuple(_episode(row) for row in rows)


async def accounts_whose_grace_is_over(db: Database, limit: int) -> tuple[UUID, ...]:
    """Return accounts with an episode whose grace has ended and that are not suspended for it."""
    rows = await db.fetch(
        "SELECT account FROM dunning_episode WHERE stage = 'grace' AND grace_ends_at <= af_now()"
        " ORDER BY grace_ends_at LIMIT $1",
        limit,
    )
    return tuple(dict.fromkeys(row["account"] for row in rows))


async def write(db: Database, episode: Episode) -> None:
    """Write an episode over its row, but for what it began with, or a new one."""
    values = [getattr(episode, each.name) for each in fields(Episode)]
    values[_NAMES.index("stage")] = episode.stage.value
    await db.execute(
        f"INSERT INTO dunning_episode ({_COLUMNS}) VALUES ({_PLACES})"
        f" ON CONFLICT (id) DO UPDATE SET {_CHANGES}",
        *values,
    )


async def want(db: Database, attempt: WantedAttempt) -> None:
    """Ask for a payment once: what was asked for with this key before is not asked for again."""
    await db.execute(
        "INSERT INTO dunning_attempt"
        " (id, episode, idempotency_key, cause, invoice_id, payment_method_id, due_at)"
        " VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, $6) ON CONFLICT (idempotency_key) DO NOTHING",
        attempt.episode_id,
        attempt.idempotency_key,
        attempt.cause,
        attempt.invoice_id,
        attempt.payment_method_id,
        attempt.due_at,
    )


async def claim_attempt(db: Database, lease: UUID, lease_seconds: float) -> ClaimedAttempt | None:
    """Take a payment that is due, of an episode that is open and whose invoice nobody else asks for."""
    row = await db.fetchrow(
        "WITH next AS ("
        " SELECT attempt.id FROM dunning_attempt AS attempt"
        " JOIN dunning_episode AS episode ON episode.id = attempt.episode AND episode.closed_at IS NULL"
        " WHERE attempt.state = 'pending' AND attempt.due_at <= af_now()"
        " AND (attempt.locked_until IS NULL OR attempt.locked_until <= af_now())"
        " AND NOT EXISTS (SELECT FROM dunning_attempt AS other WHERE other.invoice_id = attempt.invoice_id"
        "  AND other.id <> attempt.id AND other.locked_until > af_now())"
        " ORDER BY attempt.due_at, attempt.id LIMIT 1 FOR UPDATE OF attempt, episode SKIP LOCKED)"
        " UPDATE dunning_attempt AS attempt SET lease = $1, tries = tries + 1,"
        " locked_until = af_now() + make_interval(secs => $2)"
        " FROM next, dunning_episode AS episode, subscription"
        " WHERE attempt.id = next.id AND episode.id = attempt.episode"
        " AND subscription.id = episode.subscription"
        " RETURNING attempt.id, attempt.episode AS episode_id, episode.account AS account_id,"
        " subscription.customer_id, attempt.idempotency_key, attempt.cause, attempt.invoice_id,"
        " attempt.payment_method_id, attempt.tries, attempt.lease",
        lease,
        lease_seconds,
    )
    return None if row is None else ClaimedAttempt(**dict(row))


async def end_attempt(
    db: Database, attempt: ClaimedAttempt, state: str, decline_code: str | None, remark: str | None
) -> bool:
    """End a payment that was asked for; say whether the lease still held it."""
    tag = await db.execute(
        "UPDATE dunning_attempt SET state = $3, decline_code = $4, last_error = $5, ended_at = af_now(),"
        " lease = NULL, locked_until = NULL WHERE id = $1 AND lease = $2 AND state = 'pending'",
        attempt.id,
        attempt.lease,
        state,
        decline_code,
        remark,
    )
    return tag == "UPDATE 1"


async def put_off_attempt(db: Database, attempt: ClaimedAttempt, wait_seconds: float, remark: str) -> None:
    """Leave a payment for later, to be asked for with the same idempotency key."""
    await db.execute(
        "UPDATE dunning_attempt SET lease = NULL, locked_until = NULL, last_error = $4,"
        " due_at = af_now() + make_interval(secs => $3) WHERE id = $1 AND lease = $2 AND state = 'pending'",
        attempt.id,
        attempt.lease,
        wait_seconds,
        remark,
    )


async def skip_attempts_of_closed(db: Database) -> None:
    """Give up the payments of episodes that have closed, unless one is being asked for just now."""
    await db.execute(
        "UPDATE dunning_attempt AS attempt SET state = 'skipped', ended_at = af_now(), lease = NULL,"
        " locked_until = NULL, last_error = 'The episode has closed.' FROM dunning_episode AS episode"
        " WHERE episode.id = attempt.episode AND episode.closed_at IS NOT NULL AND attempt.state = 'pending'"
        " AND (attempt.locked_until IS NULL OR attempt.locked_until <= af_now())"
    )


def _episode(row: asyncpg.Record) -> Episode:
    facts = dict(row) | {"stage": Stage(row["stage"])}
    return Episode(account_id=facts.pop("account"), subscription_id=facts.pop("subscription"), **facts)
