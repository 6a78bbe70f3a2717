"""The statements of the audit log."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
import orjson

from api_factory.audit.model import Actor, Entry
from api_factory.audit.tables import AuditEntry
from api_factory.db import Database

_COLUMNS = "id, at, actor_kind, actor_id, request_id, verb, target_kind, target_id, before, after"


def is_in_transaction() -> bool:
    """Tell whether the calling task has a transaction open."""
    return bool(AuditEntry._meta.db.transaction_exists())


async def insert(
    db: Database,
    actor: Actor,
    verb: str,
    target: tuple[str, str],
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    """Insert one entry, dated by the database; `target` is its kind and id."""
    await db.execute(
        "INSERT INTO audit_entry"
        " (at, actor_kind, actor_id, request_id, verb, target_kind, target_id, before, after)"
        " VALUES (af_now(), $1, $2, $3, $4, $5, $6, $7, $8)",
        actor.kind,
        actor.id,
        actor.request_id,
        verb,
        *target,
        _written(before),
        _written(after),
    )


async def newest(db: Database, limit: int) -> tuple[Entry, ...]:
    """Return the newest entries, the newest first."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM audit_entry ORDER BY id DESC LIMIT $1", limit)  # noqa: S608
    return tuple(_entry(row) for row in rows)


async def newest_of_target(db: Database, target_id: str, limit: int) -> tuple[Entry, ...]:
    """Return the newest entries about one thing, the newest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM audit_entry WHERE target_id = $1 ORDER BY id DESC LIMIT $2",  # noqa: S608
        target_id,
        limit,
    )
    return tuple(_entry(row) for row in rows)


def _written(facts: Mapping[str, object] | None) -> str | None:
    return None if facts is None else orjson.dumps(dict(facts), default=str).decode()


def _read(text: str | None) -> dict[str, object] | None:
    return None if text is None else orjson.loads(text)


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(
        id=row["id"],
        at=row["at"],
        actor=Actor(row["actor_kind"], row["actor_id"], row["request_id"]),
        verb=row["verb"],
        target_kind=row["target_kind"],
        target_id=row["target_id"],
        before=_read(row["before"]),
        after=_read(row["after"]),
    )
