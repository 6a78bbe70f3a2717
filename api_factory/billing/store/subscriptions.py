"""The statements of subscriptions, of prices that were seen, and of the plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from api_factory.billing.model import Standing, SubscriptionState
from api_factory.db import Database

# ruff: noqa: S608 - the only texts put into a statement are the names of columns
_NAMES: Final = tuple("account" if each.name == "account_id" else each.name for each in fields(Standing))
_COLUMNS: Final = ", ".join(_NAMES)
_PLACES: Final = ", ".join(f"${place}" for place in range(1, len(_NAMES) + 2))
_CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in (*_NAMES, "written_at") if name != "id")


async def of_account(db: Database, account_id: UUID) -> tuple[Standing, ...]:
    """Return the subscriptions of an account, the oldest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM subscription WHERE account = $1 ORDER BY created_at, id", account_id
    )
    return tuple(_standing(row) for row in rows)


async def by_id(db: Database, subscription_id: str) -> Standing | None:
    """Return a subscription or None."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM subscription WHERE id = $1", subscription_id)
    return None if row is None else _standing(row)


async def live(db: Database) -> tuple[Standing, ...]:
    """Return every subscription that has not ended."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM subscription WHERE state <> 'ended' ORDER BY id")
    return tuple(_standing(row) for row in rows)


async def owner_of_customer(db: Database, customer_id: str) -> UUID | None:
    """Return the account of a customer's subscriptions here, or None."""
    owner: UUID | None = await db.fetchval(
        "SELECT account FROM subscription WHERE customer_id = $1 LIMIT 1", customer_id
    )
    return owner


async def written_at(db: Database, customer_id: str) -> datetime | None:
    """Return when a customer's subscriptions were last projected, or None."""
    moment: datetime | None = await db.fetchval(
        "SELECT max(written_at) FROM subscription WHERE customer_id = $1", customer_id
    )
    return moment


async def clear_current(db: Database, account_id: UUID) -> None:
    """Let no subscription of an account be the current one, so that another can become it."""
    await db.execute(
        "UPDATE subscription SET is_current = false WHERE account = $1 AND is_current", account_id
    )


async def write(db: Database, standing: Standing, now: datetime) -> None:
    """Write a subscription over its row, or a new one."""
    values = [getattr(standing, each.name) for each in fields(Standing)]
    values[_NAMES.index("state")] = standing.state.value
    await db.execute(
        f"INSERT INTO subscription ({_COLUMNS}, written_at) VALUES ({_PLACES})"
        f" ON CONFLICT (id) DO UPDATE SET {_CHANGES}",
        *values,
        now,
    )


async def touch(db: Database, subscription_ids: Sequence[str], now: datetime) -> None:
    """Remember when subscriptions were projected that had not changed."""
    await db.execute(
        "UPDATE subscription SET written_at = $2 WHERE id = ANY ($1::text[])", list(subscription_ids), now
    )


async def plans_of_prices(db: Database) -> Mapping[str, str]:
    """Return which plan each price that was ever seen has granted."""
    rows = await db.fetch("SELECT id, plan FROM stripe_price")
    return {row["id"]: row["plan"] for row in rows}


async def remember_price(db: Database, price_id: str, plan: str) -> None:
    """Remember which plan a price grants."""
    await db.execute(
        "INSERT INTO stripe_price (id, plan, first_seen_at) VALUES ($1, $2, af_now())"
        " ON CONFLICT (id) DO UPDATE SET plan = excluded.plan",
        price_id,
        plan,
    )


def _standing(row: asyncpg.Record) -> Standing:
    facts = dict(row) | {"state": SubscriptionState(row["state"])}
    return Standing(account_id=facts.pop("account"), **facts)
