"""Accounts and keys by the million, copied into a migrated database."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from api_factory.accounts import Plans, load_plans
from api_factory.audit import Actor, Audit
from api_factory.db import Database
from api_factory.ids import uuid7
from api_factory.keys.secret import digest, hint, mint

PLANS_FILE: Final = Path(__file__).with_name("plans.toml")
PEPPER_VERSION: Final = 1
MOST_SECRETS: Final = 10_000
"""So many keys at most have a secret that somebody knows; the others fill the tables."""
KEYS_AN_ACCOUNT: Final = 10

_BY: Final = Actor("system", "bench")
_COPY_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class _Key:
    id: UUID
    account: UUID
    secret: str | None


async def add_customers(db: Database, keys: int, pepper: bytes) -> Sequence[str]:
    """Add so many keys; return the secrets of those that can be used, each with an account of its own.

    The other keys belong to accounts of ten. Limits and a quota apply to all of them and stop none.
    """
    await Plans(db, Audit(db)).apply(load_plans(PLANS_FILE), by=_BY)
    made = list(_keys(keys))
    connection = await db.connect()
    try:
        for table, columns, rows in _tables(made, pepper):
            await connection.copy_records_to_table(
                table, records=rows, columns=columns, timeout=_COPY_SECONDS
            )
        await connection.execute("ANALYZE", timeout=_COPY_SECONDS)
    finally:
        await connection.close()
    return [key.secret for key in made if key.secret is not None]


def _keys(count: int) -> Iterator[_Key]:
    account = uuid7()
    for number in range(count):
        is_usable = number < MOST_SECRETS
        if is_usable or number % KEYS_AN_ACCOUNT == 0:
            account = uuid7()
        key_id = uuid7()
        yield _Key(key_id, account, mint(True, key_id) if is_usable else None)


def _tables(
    keys: Sequence[_Key], pepper: bytes
) -> Iterator[tuple[str, tuple[str, ...], Iterable[tuple[Any, ...]]]]:
    now = datetime.now(UTC)
    accounts = dict.fromkeys(key.account for key in keys)
    yield (
        "account",
        ("id", "email", "name", "plan", "status", "period_anchor", "created_at", "epoch"),
        ((each, f"{each.hex}@example.test", "", "bench", "ACTIVE", now, now, 0) for each in accounts),
    )
    yield (
        "api_key",
        ("id", "account", "name", "livemode", "status", "scopes", "cidrs", "metadata", "created_at", "epoch"),
        ((key.id, key.account, "bench", True, "ACTIVE", ["RUN_ACTIONS"], [], "{}", now, 0) for key in keys),
    )
    yield (
        "api_key_secret",
        ("id", "key", "digest", "pepper_version", "hint", "created_at"),
        ((uuid7(), key.id, *_stored(key, pepper), now) for key in keys),
    )


def _stored(key: _Key, pepper: bytes) -> tuple[bytes, int, str]:
    if key.secret is None:
        return secrets.token_bytes(32), PEPPER_VERSION, "none"
    return digest(key.secret, pepper), PEPPER_VERSION, hint(key.secret)
