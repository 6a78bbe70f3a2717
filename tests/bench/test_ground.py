"""Databases with customers, whose keys open the door, and the addresses of all that was made."""

from __future__ import annotations

import pytest

from api_factory.db import Database
from api_factory.keys import store
from api_factory.keys.secret import digest, parse
from bench import customers
from bench.ground import libpq_variables
from bench.scratch import on_server

PEPPER = b"a pepper of thirty-two characters"


async def test_as_many_keys_are_there_as_were_wanted_and_the_first_can_be_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customers, "MOST_SECRETS", 3)
    known = await customers.add_customers(database, 25, PEPPER)
    assert len(set(known)) == 3
    assert await database.fetchval("SELECT count(*) FROM api_key") == 25
    assert await database.fetchval("SELECT count(*) FROM api_key_secret") == 25
    # One each for the three, then one for the rest of the first ten, and one for each further ten.
    assert await database.fetchval("SELECT count(*) FROM account") == 3 + 2
    for secret in known:
        presented = parse(secret)
        assert presented is not None
        snapshot = (await store.read_snapshot(database, presented.key_id)).snapshot
        assert snapshot is not None
        assert [each.digest for each in snapshot.secrets] == [digest(secret, PEPPER)]
        assert (snapshot.status, len(snapshot.rates)) == ("ACTIVE", 2)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("postgresql://me:pw@db.example:5433/postgres", "postgresql://me:pw@db.example:5433/mine"),
        (
            "postgresql://postgres@/postgres?host=%2Ftmp%2Fx&port=5432",
            "postgresql://postgres@/mine?host=%2Ftmp%2Fx&port=5432",
        ),
    ],
)
def test_another_database_of_a_server_has_the_same_address_but_for_its_name(
    server: str, expected: str
) -> None:
    assert on_server(server, "mine") == expected


def test_an_address_becomes_the_variables_of_libpq() -> None:
    assert libpq_variables("postgresql://me:p%40w@db.example:5433/mine") == {
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGUSER": "me",
        "PGPASSWORD": "p@w",
        "PGDATABASE": "mine",
    }
    assert libpq_variables("postgresql://postgres@/mine?host=%2Ftmp%2Fx&port=5432") == {
        "PGHOST": "/tmp/x",
        "PGPORT": "5432",
        "PGUSER": "postgres",
        "PGDATABASE": "mine",
    }
