"""The command as a whole: what it lists, how it ends, what goes where."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import click
import pytest
from click.testing import CliRunner

import api_factory
from api_factory import cli
from api_factory.cli import output, session
from tests.cli.conftest import ROOT, Outcome, Run
from tests.cli.test_doctor import execute


def test_the_version_is_told_without_loading_the_engine(apart: Run) -> None:
    outcome = apart("--version")
    assert outcome == Outcome(0, f"api-factory {api_factory.__version__}\n", "")


def test_help_lists_every_command_and_each_has_its_own(here: Run) -> None:
    listed = here("--help").stdout
    for name in (
        *(
            "demo",
            "serve",
            "worker",
            "migrate",
            "doctor",
            "new",
            "key",
            "account",
            "plan",
            "usage",
            "billing",
        ),
        *("notice", "schema"),
    ):
        assert f"\n  {name} " in listed
        assert here(name, "--help").code == 0
    assert "\n  staff " not in listed
    assert here("staff").code == 2


def test_every_command_takes_json() -> None:
    context = click.Context(cli.command)
    waiting = [cli.command.get_command(context, name) for name in cli.command.list_commands(context)]
    while waiting:
        each = waiting.pop()
        assert each is not None
        if isinstance(each, click.Group):
            waiting += each.commands.values()
        else:
            assert "--json" in [name for option in each.params for name in option.opts], each.name
            assert each.help


def test_what_nobody_expected_is_a_log_entry_and_one_sentence(here: Run, fresh_database_url: str) -> None:
    async def break_it() -> None:
        connection = await asyncpg.connect(fresh_database_url)
        await connection.execute("DROP TABLE account CASCADE")
        await connection.close()

    here("plan", "list")
    asyncio.run(break_it())
    outcome = here("account", "list", "--json")
    assert (outcome.code, outcome.stdout) == (1, "")
    *logged, last = outcome.stderr.splitlines()
    assert json.loads(last)["error"]["code"] == "INTERNAL"
    assert logged[0].endswith("ERROR api_factory.cli.output unexpected error")


def test_a_setting_that_cannot_be_is_one_sentence(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_FACTORY_ENV", "staging")
    outcome = here("account", "list")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("Error: API_FACTORY_ENV: ")
    assert outcome.stderr.count("\n") == 1


def test_a_database_that_is_away_is_one_sentence(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/none")
    outcome = here("account", "list", "--json")
    assert (outcome.code, outcome.stdout) == (1, "")
    error = json.loads(outcome.stderr)["error"]
    assert error["code"] == "UNAVAILABLE"
    assert "at 127.0.0.1:1/none cannot be used: connection refused" in error["message"]
    assert "DATABASE_URL" in error["message"]
    assert "`api-factory doctor`" in error["message"]


def test_an_address_of_the_database_that_cannot_be_is_one_sentence_without_its_password(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hun/ter2@h:port/x")
    outcome = here("account", "list")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("Error: DATABASE_URL ")
    assert outcome.stderr.count("\n") == 1
    assert "hun" not in outcome.stderr


def test_what_is_stored_already_cannot_steer_the_terminal(here: Run, fresh_database_url: str) -> None:
    made = here("account", "create", "--email", "ada@example.com", "--json").json["id"]
    name = "a\x1b]0;owned\x07\n\x7f\x9b\u202eb"
    execute(fresh_database_url, "UPDATE account SET name = '" + name + "'")
    shown = here("account", "show", made, "--json")
    assert shown.json["name"] == name
    for outcome in (here("account", "list"), here("account", "show", made), shown):
        assert outcome.code == 0
        assert "\\u001b]0;owned\\u0007\\" in outcome.stdout
        assert not set("\x1b\x07\x7f\x9b\u202e") & set(outcome.stdout)
    assert len(here("account", "list").stdout.splitlines()) == 2


def test_a_foreign_package_of_our_name_stops_the_schema(apart: Run, folder: Path) -> None:
    (folder / "planted").mkdir()
    (folder / "planted" / "schema.py").touch()
    outcome = apart("schema", PYTHONPATH=f"{folder / 'planted'}{os.pathsep}{ROOT}")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "`import schema` finds" in outcome.stderr


def test_a_directory_of_secrets_that_is_not_there_is_one_sentence(apart: Run) -> None:
    outcome = apart("account", "list", API_FACTORY_SECRETS_DIR="/nope")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("Error: API_FACTORY_SECRETS_DIR: /nope is no directory")
    assert outcome.stderr.count("\n") == 1


def test_an_embedded_database_that_cannot_be_had_is_one_sentence(
    here: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("API_FACTORY_POSTGRES_BIN", str(folder))
    outcome = here("account", "list")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "API_FACTORY_POSTGRES_BIN" in outcome.stderr
    monkeypatch.setenv("API_FACTORY_DATA_DIR", str(folder / "file" / "below"))
    (folder / "file").touch()
    assert "cannot be written to" in here("account", "list").stderr


def test_the_schema_is_printed_with_the_named_actions_and_without_a_database(
    here: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    (folder / "my_shouts.py").write_text(
        "from api_factory import action\n\n\n@action(units=3)\nasync def shout(text: str) -> str:\n"
        '    """Shout."""\n    return text.upper()\n'
    )
    outcome = here("schema", "--actions", "my_shouts")
    assert outcome.code == 0
    assert "shout(" in outcome.stdout
    assert "@cost(weight: 3)" in outcome.stdout
    assert here("schema", "--actions", "my_shouts", "--json").json["sdl"].rstrip() == outcome.stdout.rstrip()
    assert not (folder / "data" / "postgres").exists()
    sys.modules.pop("my_shouts")


def test_a_new_package_is_written_once_and_the_next_command_named(here: Run, folder: Path) -> None:
    outcome = here("new", "word_tools", "--json")
    assert outcome.code == 0
    assert outcome.json["directory"] == "word_tools"
    assert all((folder / file).is_file() for file in outcome.json["files"])
    assert outcome.stderr == "Next: cd word_tools && api-factory demo --actions word_tools\n"
    again = here("new", "word_tools")
    assert (again.code, again.stdout) == (1, "")
    assert "is not empty" in again.stderr
    elsewhere = here("new", "word_tools", "--directory", "else where")
    assert "else where/word_tools.py" in elsewhere.stdout
    assert "cd 'else where'" in elsewhere.stderr


def test_values_are_readable_in_a_table_and_exact_in_json() -> None:
    record = {
        "none": None,
        "yes": True,
        "number": 1_234_567,
        "time": datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
        "some": ("a", "b"),
        "object": {"a": 1},
        "empty": "",
    }

    @click.command()
    @output.json_option
    def show() -> None:
        output.show(record)

    table = CliRunner().invoke(show).stdout.splitlines()
    assert [line.split("  ")[-1].strip() for line in table] == [
        *("-", "yes", "1,234,567", "2026-01-31 12:00:00 UTC", "a, b", '{"a": 1}', "-")
    ]
    shown = json.loads(CliRunner().invoke(show, ["--json"]).stdout)
    assert shown == {**record, "time": "2026-01-31T12:00:00Z", "some": ["a", "b"]}


def test_the_actor_is_the_user_or_his_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert session.actor().id == "ada"

    def nameless() -> str:
        raise KeyError("no name")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 10_001)
    assert session.actor().id == "uid-10001"


def test_commands_log_warnings_only(here: Run) -> None:
    here("plan", "list")
    assert logging.getLogger().level == logging.WARNING
