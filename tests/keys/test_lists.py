"""A list of one account's keys costs what the account has, whatever the others have."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import pytest

from api_factory.accounts import Account
from api_factory.db import Database
from api_factory.ids import uuid7
from api_factory.keys import KeyStatus, store

KEY = uuid7()


class Overheard(Database):
    """The same database; the statements that go to it are kept."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.said: list[tuple[str, tuple[object, ...]]] = []

    async def fetch(self, sql: str, *arguments: object) -> Sequence[asyncpg.Record]:
        self.said.append((sql, arguments))
        return await super().fetch(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: object) -> object:
        self.said.append((sql, arguments))
        return await super().fetchval(sql, *arguments)


@pytest.mark.parametrize("status", [None, KeyStatus.ACTIVE])
async def test_every_list_of_an_account_is_read_by_its_index_under_a_generic_plan(
    database: Database,
    ledger: asyncpg.Connection,
    account: Account,
    status: KeyStatus | None,
) -> None:
    await database.execute(
        "INSERT INTO account (id, email, name, plan, status, period_anchor, created_at, epoch)"
        " SELECT gen_random_uuid(), n || '@example.test', '', 'free', 'ACTIVE', af_now(), af_now(), 0"
        " FROM generate_series(1, 200) AS n"
    )
    await database.execute(
        "INSERT INTO api_key (id, account, name, status, scopes, cidrs, created_at)"
        " SELECT gen_random_uuid(), account.id, 'k', 'ACTIVE', '{}', '{}', af_now()"
        " FROM account, generate_series(1, 50)"
    )
    await database.execute("ANALYZE api_key")
    overheard, chosen = Overheard(database.dsn), store.Filter(account.id, status)
    await store.count(overheard, chosen)
    for cursor in (None, KEY):
        await store.keys_after(overheard, chosen, cursor, 50)
        await store.keys_before(overheard, chosen, cursor, 50)
    assert len(overheard.said) == 5
    await ledger.execute("SET plan_cache_mode = force_generic_plan")
    for place, (sql, arguments) in enumerate(overheard.said):
        await ledger.execute(f"PREPARE said_{place} AS {sql}")
        values = ", ".join(f"'{argument}'" for argument in arguments)
        rows = await ledger.fetch(f"EXPLAIN EXECUTE said_{place} ({values})")
        plan = "\n".join(row[0] for row in rows)
        assert "api_key_by_account" in plan, plan
        assert "Seq Scan on api_key key" not in plan, plan
