from __future__ import annotations

import pytest

from api_factory.audit import Actor, Audit
from api_factory.db import Database

STAFF = Actor("staff", "staff_1", "req-1")


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database)


async def test_an_entry_says_who_did_what_and_what_it_changed(database: Database, audit: Audit) -> None:
    async with database.transaction():
        await audit.record(
            STAFF, "revoked", "key", "key_1", before={"status": "ACTIVE"}, after={"n": [1, None]}
        )
    (entry,) = await audit.entries()
    assert entry.actor == STAFF
    assert entry.verb == "staff:key:revoked"
    assert (entry.target_kind, entry.target_id) == ("key", "key_1")
    assert (entry.before, entry.after) == ({"status": "ACTIVE"}, {"n": [1, None]})
    assert entry.at == await database.fetchval("SELECT at FROM audit_entry")


async def test_what_did_not_exist_before_is_none(database: Database, audit: Audit) -> None:
    async with database.transaction():
        await audit.record(Actor("cli", "operator"), "created", "key", "key_1", before=None, after={})
    (entry,) = await audit.entries()
    assert (entry.before, entry.after, entry.actor.request_id) == (None, {}, None)


async def test_an_entry_outside_a_transaction_is_refused_and_leaves_nothing(audit: Audit) -> None:
    with pytest.raises(RuntimeError, match="transaction of its deed"):
        await audit.record(STAFF, "revoked", "key", "key_1", before=None, after=None)
    assert await audit.entries() == ()


async def test_a_deed_that_rolls_back_leaves_no_entry(database: Database, audit: Audit) -> None:
    async def fail() -> None:
        async with database.transaction():
            await audit.record(STAFF, "revoked", "key", "key_1", before=None, after=None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await audit.entries() == ()


async def test_entries_come_newest_first_and_of_one_thing_when_asked(
    database: Database, audit: Audit
) -> None:
    async with database.transaction():
        for verb, target in (("created", "key_1"), ("created", "key_2"), ("revoked", "key_1")):
            await audit.record(STAFF, verb, "key", target, before=None, after=None)
    assert [entry.target_id for entry in await audit.entries()] == ["key_1", "key_2", "key_1"]
    assert [entry.verb for entry in await audit.entries(target_id="key_1")] == [
        "staff:key:revoked",
        "staff:key:created",
    ]
    assert [entry.verb for entry in await audit.entries(limit=1)] == ["staff:key:revoked"]
