"""The statements of keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_network
from typing import Final, Protocol
from uuid import UUID

import asyncpg
import orjson

from api_factory.db import Database
from api_factory.ids import public_id
from api_factory.keys import secret
from api_factory.keys.lifecycle import KeyStatus
from api_factory.keys.model import Key, KeySnapshot, KeyStanding, NewKey, Reading, SecretDigest
from api_factory.rates import Rate, parse_rates

# ruff: noqa: S608 - the only texts put into a statement are the constants below
_STATUS: Final = (
    "CASE WHEN key.status <> 'REVOKED' AND key.expires_at <= af_now() THEN 'EXPIRED' ELSE key.status END"
)
_KEY: Final = f"""
    key.id, key.account, key.name, key.livemode, {_STATUS} AS status, key.suspended_reason,
    key.suspended_by, key.scopes, key.allowed_actions, key.cidrs, key.cap_units, key.trusted_documents_only,
    key.metadata, key.created_at, key.expires_at, key.revoked_at, key.last_used_at, key.epoch,
    (SELECT s.hint FROM api_key_secret AS s WHERE s.key = key.id
     ORDER BY s.created_at DESC, s.id DESC LIMIT 1) AS hint
"""
_OF_ACCOUNT: Final = "key.account = ${}::uuid"
_IN_STATUS: Final = f"{_STATUS} = ${{}}::text"


class Source(Protocol):
    """What a statement can be read from: the pool, or a connection of its own."""

    async def fetchrow(self, query: str, /, *arguments: object) -> asyncpg.Record | None:
        """Return the first row or None."""

    async def fetch(self, query: str, /, *arguments: object) -> Sequence[asyncpg.Record]:
        """Return the rows."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which keys a list is about; None does not restrict."""

    account_id: UUID | None
    status: KeyStatus | None

    def where(self, cursor: str = "", key_id: UUID | None = None) -> tuple[str, list[object]]:
        """Return the condition with nothing in it that does not restrict, and its arguments.

        `cursor` compares `key.id` with `key_id`. A condition such as `$1 IS NULL OR ...` would hide the
        index from a plan that is made once for all arguments.
        """
        wanted = ((_OF_ACCOUNT, self.account_id), (_IN_STATUS, self.status), (cursor, key_id))
        chosen = [(condition, value) for condition, value in wanted if value is not None]
        conditions = [condition.format(place) for place, (condition, _) in enumerate(chosen, start=1)]
        return " AND ".join(conditions) or "true", [value for _, value in chosen]


async def key_by_id(db: Database, key_id: UUID) -> Key | None:
    """Return a key or None."""
    row = await db.fetchrow(f"SELECT {_KEY} FROM api_key AS key WHERE key.id = $1", key_id)
    return None if row is None else _key(row)


async def lock_key_by_id(db: Database, key_id: UUID) -> Key | None:
    """Lock a key's row until the transaction ends and return it, or None."""
    row = await db.fetchrow(
        f"SELECT {_KEY} FROM api_key AS key WHERE key.id = $1 FOR NO KEY UPDATE OF key", key_id
    )
    return None if row is None else _key(row)


async def standing(db: Database, key_id: UUID, account_id: UUID) -> KeyStanding | None:
    """Return how a key of an account stands, or None when there is no such key."""
    row = await db.fetchrow(
        f"SELECT {_STATUS} AS status, key.epoch AS key_epoch, account.status AS account_status,"
        " greatest(account.epoch, plan.epoch) AS account_epoch, af_now() AS now_at"
        " FROM api_key AS key JOIN account ON account.id = key.account"
        " JOIN plan ON plan.slug = account.plan WHERE key.id = $1 AND key.account = $2",
        key_id,
        account_id,
    )
    if row is None:
        return None
    return KeyStanding(
        KeyStatus(row["status"]),
        row["key_epoch"],
        row["account_status"],
        row["account_epoch"],
        row["now_at"],
    )


async def keys_after(db: Database, chosen: Filter, after: UUID | None, limit: int) -> tuple[Key, ...]:
    """Return up to `limit` keys older than `after`, the newest first."""
    where, arguments = chosen.where("key.id < ${}::uuid", after)
    rows = await db.fetch(
        f"SELECT {_KEY} FROM api_key AS key WHERE {where} ORDER BY key.id DESC LIMIT ${len(arguments) + 1}",
        *arguments,
        limit,
    )
    return tuple(_key(row) for row in rows)


async def keys_before(db: Database, chosen: Filter, before: UUID | None, limit: int) -> tuple[Key, ...]:
    """Return the `limit` keys that are next newer than `before`, the newest first."""
    where, arguments = chosen.where("key.id > ${}::uuid", before)
    rows = await db.fetch(
        f"SELECT {_KEY} FROM api_key AS key WHERE {where} ORDER BY key.id LIMIT ${len(arguments) + 1}",
        *arguments,
        limit,
    )
    return tuple(_key(row) for row in reversed(rows))


async def count(db: Database, chosen: Filter) -> int:
    """Return how many keys fit the filter."""
    where, arguments = chosen.where()
    number: int = await db.fetchval(f"SELECT count(*) FROM api_key AS key WHERE {where}", *arguments)
    return number


async def count_by_status(db: Database) -> dict[str, int]:
    """Return how many keys there are in each state that any is in."""
    rows = await db.fetch(f"SELECT {_STATUS} AS status, count(*) FROM api_key AS key GROUP BY 1")
    return {row["status"]: row["count"] for row in rows}


async def count_unrevoked(db: Database, account_id: UUID) -> int:
    """Return how many keys of an account count towards its plan's limit."""
    number: int = await db.fetchval(
        "SELECT count(*) FROM api_key WHERE account = $1 AND status <> 'REVOKED'", account_id
    )
    return number


async def key_limit(db: Database, account_id: UUID) -> int | None:
    """Return how many keys an account's plan allows, or None when there is no such account."""
    limit: int | None = await db.fetchval(
        "SELECT plan.key_limit FROM account JOIN plan ON plan.slug = account.plan WHERE account.id = $1",
        account_id,
    )
    return limit


async def database_now(db: Database) -> datetime:
    """Return the moment by the database's clock."""
    now: datetime = await db.fetchval("SELECT af_now()")
    return now


async def insert_key(db: Database, key_id: UUID, account_id: UUID, new: NewKey) -> None:
    """Insert an active key."""
    await db.execute(
        "INSERT INTO api_key (id, account, name, livemode, scopes, allowed_actions, cidrs, cap_units,"
        " metadata, expires_at, trusted_documents_only, status, created_at, epoch)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'ACTIVE', af_now(), 0)",
        key_id,
        account_id,
        new.name,
        new.livemode,
        list(new.scopes),
        None if new.allowed_actions is None else list(new.allowed_actions),
        list(new.cidrs),
        new.cap_units,
        orjson.dumps(dict(new.metadata)).decode(),
        new.expires_at,
        new.trusted_documents_only,
    )


async def insert_secret(db: Database, key_id: UUID, stored: SecretDigest, hint: str) -> None:
    """Insert one secret of a key."""
    await db.execute(
        "INSERT INTO api_key_secret (id, key, digest, pepper_version, hint, created_at, not_after)"
        " VALUES ($1, $2, $3, $4, $5, af_now(), $6)",
        stored.id,
        key_id,
        stored.digest,
        stored.pepper_version,
        hint,
        stored.not_after,
    )


async def end_secrets(db: Database, key_id: UUID, grace_seconds: int) -> int:
    """Let a key's living secrets end after the grace, or sooner if they were to; count those that live on."""
    living: int = await db.fetchval(
        "WITH ended AS ("
        " UPDATE api_key_secret SET not_after = least(not_after, now_at + make_interval(secs => $2))"
        " FROM af_now() AS now_at WHERE key = $1 AND (not_after IS NULL OR not_after > now_at)"
        " RETURNING not_after > now_at AS lives)"
        " SELECT count(*) FILTER (WHERE lives) FROM ended",
        key_id,
        grace_seconds,
    )
    return living


async def delete_dead_secrets(db: Database, key_id: UUID) -> None:
    """Forget the secrets of a key that have ended."""
    await db.execute("DELETE FROM api_key_secret WHERE key = $1 AND not_after <= af_now()", key_id)


async def update_status(
    db: Database,
    key_id: UUID,
    epoch: int,
    status: KeyStatus,
    *,
    reason: str | None,
    by: str,
) -> None:
    """Write a key's state: who suspended it and why, or the moment that it is revoked."""
    await db.execute(
        "UPDATE api_key SET status = $3::text, epoch = $2,"
        " suspended_reason = CASE WHEN $3::text = 'SUSPENDED' THEN $4 END,"
        " suspended_by = CASE WHEN $3::text = 'SUSPENDED' THEN $5 END,"
        " revoked_at = CASE WHEN $3::text = 'REVOKED' THEN af_now() END WHERE id = $1",
        key_id,
        epoch,
        status.value,
        reason,
        by,
    )


async def update_epoch(db: Database, key_id: UUID, epoch: int) -> None:
    """Mark a key as changed at an epoch."""
    await db.execute("UPDATE api_key SET epoch = $2 WHERE id = $1", key_id, epoch)


async def touch(db: Database, used: Mapping[UUID, datetime]) -> None:
    """Move `last_used_at` of many keys forward, never back; rows are locked in the order of their ids."""
    await db.execute(
        "WITH used AS ("
        " SELECT key.id, u.at FROM api_key AS key"
        " JOIN unnest($1::uuid[], $2::timestamptz[]) AS u (id, at) USING (id)"
        " ORDER BY key.id FOR NO KEY UPDATE OF key)"
        " UPDATE api_key SET last_used_at = greatest(last_used_at, used.at) FROM used"
        " WHERE api_key.id = used.id",
        list(used.keys()),
        list(used.values()),
    )


async def rehash(db: Database, digests: Mapping[UUID, bytes], pepper_version: int) -> None:
    """Write the digests of secrets under a newer pepper; rows are locked in the order of their ids."""
    await db.execute(
        "WITH fresh AS ("
        " SELECT s.id, f.digest FROM api_key_secret AS s"
        " JOIN unnest($1::uuid[], $2::bytea[]) AS f (id, digest) USING (id)"
        " WHERE s.pepper_version < $3 ORDER BY s.id FOR NO KEY UPDATE OF s)"
        " UPDATE api_key_secret SET digest = fresh.digest, pepper_version = $3 FROM fresh"
        " WHERE api_key_secret.id = fresh.id",
        list(digests.keys()),
        list(digests.values()),
        pepper_version,
    )


async def read_snapshot(source: Source, key_id: UUID) -> Reading:
    """Read a key, its living secrets, its account, its plan and the change epoch in one statement.

    One statement is one snapshot: what it returns holds every change up to the epoch it returns.
    """
    row = await source.fetchrow(
        f"""
        SELECT change.epoch AS change_epoch, now_at, key.id, key.account, key.livemode, key.name,
               {_STATUS} AS status, key.scopes, key.allowed_actions, key.cidrs, key.metadata, key.expires_at,
               key.cap_units, key.trusted_documents_only, key.epoch,
               account.plan, account.status AS account_status, account.billing_hold_url,
               greatest(account.epoch, plan.epoch) AS account_epoch,
               coalesce(account.rate, plan.rate) AS rate, plan.scopes AS plan_scopes,
               ARRAY(SELECT (s.id, s.digest, s.pepper_version::integer, s.not_after) FROM api_key_secret AS s
                     WHERE s.key = key.id AND (s.not_after IS NULL OR s.not_after > now_at)
                     ORDER BY s.created_at DESC) AS secrets
        FROM change_epoch AS change CROSS JOIN af_now() AS now_at
        LEFT JOIN (api_key AS key JOIN account ON account.id = key.account
                   JOIN plan ON plan.slug = account.plan) ON key.id = $1
        WHERE change.id = 1
        """,
        key_id,
    )
    if row is None:
        raise RuntimeError("The row of change_epoch is missing; apply the migrations.")
    snapshot = None if row["id"] is None else _snapshot(row)
    return Reading(snapshot, row["change_epoch"], row["now_at"])


async def read_epoch(source: Source) -> tuple[int, datetime]:
    """Return the newest committed change epoch and the moment by the database's clock."""
    row = await source.fetchrow("SELECT epoch, af_now() AS now_at FROM change_epoch WHERE id = 1")
    if row is None:
        raise RuntimeError("The row of change_epoch is missing; apply the migrations.")
    return row["epoch"], row["now_at"]


async def changed_since(source: Source, epoch: int) -> tuple[UUID | str, ...]:
    """Return the ids of the keys and accounts and the slugs of the plans that changed after an epoch."""
    rows = await source.fetch(
        "SELECT id, NULL AS slug FROM api_key WHERE epoch > $1"
        " UNION ALL SELECT id, NULL FROM account WHERE epoch > $1"
        " UNION ALL SELECT NULL, slug FROM plan WHERE epoch > $1",
        epoch,
    )
    return tuple(row["slug"] if row["id"] is None else row["id"] for row in rows)


def _key(row: asyncpg.Record) -> Key:
    allowed = row["allowed_actions"]
    facts = dict(row) | {
        "status": KeyStatus(row["status"]),
        "scopes": tuple(row["scopes"]),
        "allowed_actions": None if allowed is None else tuple(allowed),
        "cidrs": tuple(row["cidrs"]),
        "metadata": orjson.loads(row["metadata"]),
        "public_id": public_id("key", row["id"]),
        "prefix": secret.prefix(row["livemode"], row["id"]),
    }
    return Key(account_id=facts.pop("account"), **facts)


def _snapshot(row: asyncpg.Record) -> KeySnapshot:
    allowed, granted = row["allowed_actions"], row["plan_scopes"]
    return KeySnapshot(
        key_id=row["id"],
        account_id=row["account"],
        plan_slug=row["plan"],
        livemode=row["livemode"],
        name=row["name"],
        status=KeyStatus(row["status"]),
        scopes=frozenset(row["scopes"]),
        allowed_actions=None if allowed is None else frozenset(allowed),
        networks=tuple(ip_network(cidr) for cidr in row["cidrs"]),
        metadata=orjson.loads(row["metadata"]),
        expires_at=row["expires_at"],
        secrets=tuple(SecretDigest(*stored) for stored in row["secrets"]),
        key_epoch=row["epoch"],
        account_epoch=row["account_epoch"],
        account_status=row["account_status"],
        pay_url=row["billing_hold_url"],
        rates=_rates(row["rate"]),
        plan_scopes=None if granted is None else frozenset(granted),
        cap_units=row["cap_units"],
        trusted_documents_only=row["trusted_documents_only"],
    )


@lru_cache(maxsize=1024)
def _rates(text: str) -> tuple[Rate, ...]:
    return parse_rates(text) if text else ()
