"""`api-factory migrate`: there, back, and the check that needs no database."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from piccolo.columns import Text

from api_factory.accounts.tables import Account
from api_factory.db import MIGRATIONS, known_migrations
from tests.cli.conftest import Run
from tests.cli.test_doctor import execute


def tables(url: str) -> set[str]:
    async def read() -> set[str]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        await connection.close()
        return {row["tablename"] for row in rows}

    return asyncio.run(read())


def test_the_tables_go_back_and_forth(here: Run, fresh_database_url: str) -> None:
    known = list(known_migrations())
    before = tables(fresh_database_url)
    nothing = here("migrate", "--json")
    assert (nothing.code, nothing.json) == (0, {"applied": []})
    unsure = here("migrate", "--down", known[0], "--json")
    assert (unsure.code, unsure.stdout) == (1, "")
    assert "drops what was made with it" in unsure.stderr
    assert "add --yes" in unsure.stderr
    assert tables(fresh_database_url) == before
    back = here("migrate", "--down", known[0], "--yes", "--json")
    assert (back.code, back.json) == (0, {"undone": known[::-1]})
    assert tables(fresh_database_url) == {"migration"}
    check = here("migrate", "--check", "--json")
    assert (check.code, check.json) == (1, {"drift": [], "pending": known})
    assert "run `api-factory migrate`" in json.loads(check.stderr)["error"]["message"]
    again = here("migrate", "--json")
    assert (again.json, again.stderr) == ({"applied": known}, "Next: api-factory serve\n")
    assert tables(fresh_database_url) == before
    agreed = here("migrate", "--check", "--json")
    assert (agreed.code, agreed.json) == (0, {"drift": [], "pending": []})


@pytest.mark.parametrize("place", [0, -1])
def test_what_was_undone_stays_undone_until_it_is_asked_for(
    here: Run, fresh_database_url: str, place: int
) -> None:
    here("migrate", "--down", known_migrations()[place], "--yes")
    before = tables(fresh_database_url)
    for command in (("account", "list"), ("usage", "verify"), ("key", "list", "--json")):
        outcome = here(*command)
        assert (outcome.code, outcome.stdout) == (1, "")
        assert "run `api-factory migrate`" in outcome.stderr
    assert tables(fresh_database_url) == before
    assert here("migrate").code == 0
    assert here("account", "list").code == 0


def test_a_database_that_never_had_tables_gets_them_from_any_command(
    here: Run, fresh_database_url: str
) -> None:
    before = tables(fresh_database_url)
    execute(fresh_database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    assert here("account", "create", "--email", "ada@example.com").code == 0
    assert tables(fresh_database_url) == before


def test_a_migration_that_is_not_applied_cannot_be_undone(here: Run, fresh_database_url: str) -> None:
    before = tables(fresh_database_url)
    outcome = here("migrate", "--down", "2001-01-01")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "2001-01-01 is not applied" in outcome.stderr
    assert tables(fresh_database_url) == before
    assert here("migrate", "--down", "2001-01-01", "--check").code == 2


def test_the_check_needs_no_database_and_writes_nothing(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(MIGRATIONS.iterdir())
    monkeypatch.delenv("DATABASE_URL")
    outcome = here("migrate", "--check", "--json")
    assert (outcome.code, outcome.json) == (0, {"drift": [], "pending": None})
    assert not Path("data").exists()
    assert sorted(MIGRATIONS.iterdir()) == files


def test_a_table_that_no_migration_makes_fails_the_check(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    nickname = Text(default="")
    nickname._meta.name, nickname._meta._table = "nickname", Account
    monkeypatch.setattr(Account._meta, "columns", [*Account._meta.columns, nickname])
    monkeypatch.setattr(Account._meta, "non_default_columns", [*Account._meta.non_default_columns, nickname])
    outcome = here("migrate", "--check", "--json")
    assert outcome.code == 1
    assert len(outcome.json["drift"]) == 1
    assert "nickname" in outcome.json["drift"][0]
    assert "piccolo migrations new" in outcome.stderr
    doctor = here("doctor", "--json")
    (finding,) = (each for each in doctor.json if each["check"] == "tables")
    assert finding["status"] == "fail"


def test_a_migration_of_a_newer_version_keeps_what_is_before_it_from_being_undone(
    here: Run, fresh_database_url: str
) -> None:
    async def add() -> None:
        connection = await asyncpg.connect(fresh_database_url)
        await connection.execute("INSERT INTO migration (name, app_name) VALUES ('9999', 'api_factory')")
        await connection.close()

    asyncio.run(add())
    before = tables(fresh_database_url)
    outcome = here("migrate", "--down", known_migrations()[-1])
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "does not know the migration 9999" in outcome.stderr
    assert tables(fresh_database_url) == before
