"""`api-factory key`: the whole life of a key from the command line."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import asyncpg
import pytest

from api_factory.cli.session import actor
from api_factory.keys import KEY_PATTERN, parse
from tests.cli.conftest import Outcome, Run


@pytest.fixture
def account(here: Run) -> str:
    """The id of an account to give keys to."""
    made: str = here("account", "create", "--email", "owner@example.com", "--json").json["id"]
    return made


def created(here: Run, account: str, *options: str) -> dict[str, Any]:
    outcome = here("key", "create", "--account", account, "--name", "ci", "--json", *options)
    assert outcome.code == 0, outcome.stderr
    key: dict[str, Any] = outcome.json
    return key


def audited(url: str, target: str) -> list[tuple[str, str, str]]:
    async def read() -> list[tuple[str, str, str]]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(
            "SELECT actor_kind, actor_id, verb FROM audit_entry WHERE target_id = $1 ORDER BY id", target
        )
        await connection.close()
        return [tuple(row) for row in rows]

    return asyncio.run(read())


def refused(outcome: Outcome, sentence: str) -> None:
    assert (outcome.code, outcome.stdout) == (1, "")
    assert sentence in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_key_lives_from_create_to_revoke(here: Run, account: str, fresh_database_url: str) -> None:
    key = created(here, account)
    assert {name: key[name] for name in ("account", "name", "env", "status", "scopes", "expires_at")} == {
        "account": account,
        "name": "ci",
        "env": "live",
        "status": "ACTIVE",
        "scopes": ["READ_USAGE", "RUN_ACTIONS"],
        "expires_at": None,
    }
    assert parse(key["secret"]) is not None
    suspended = here("key", "suspend", key["id"], "--reason", "seen in a log", "--json").json
    assert (suspended["status"], suspended["suspended_reason"]) == ("SUSPENDED", "seen in a log")
    refused(here("key", "rotate", key["id"]), "Cannot rotate a key that is SUSPENDED")
    assert here("key", "resume", key["prefix"], "--json").json["status"] == "ACTIVE"
    rotated = here("key", "rotate", key["id"], "--grace", "24h", "--json").json
    assert rotated["id"] == key["id"]
    assert rotated["secret"] != key["secret"]
    revoked = here("key", "revoke", key["id"], "--reason", "done", "--json").json
    assert revoked["status"] == "REVOKED"
    assert revoked["revoked_at"].endswith("Z")
    refused(here("key", "revoke", key["id"]), "Cannot revoke a key that is REVOKED")
    verbs = ["created", "suspended", "resumed", "rotated", "revoked"]
    assert audited(fresh_database_url, key["id"]) == [
        ("cli", actor().id, f"cli:key:{verb}") for verb in verbs
    ]


def test_the_secret_is_shown_once_and_its_use_beside_it(here: Run, account: str) -> None:
    outcome = here("key", "create", "--account", "owner@example.com", "--name", "readable")
    secret = outcome.stdout.strip()
    assert re.fullmatch(KEY_PATTERN, secret)
    assert secret not in outcome.stderr
    assert '-H "Authorization: Bearer $KEY"' in outcome.stderr
    assert "Next: api-factory serve" not in outcome.stderr
    key_id = re.search(r"key_\w{22}", outcome.stderr)
    assert key_id is not None
    for later in (here("key", "show", key_id[0]), here("key", "list"), here("key", "list", "--json")):
        assert later.code == 0
        assert secret not in later.stdout + later.stderr
    with_json = here("key", "rotate", key_id[0], "--json")
    assert with_json.json["secret"] not in with_json.stderr


def test_a_key_gets_what_is_asked_for_it(here: Run, account: str) -> None:
    key = created(
        here,
        account,
        *("--scope", "RUN_ACTIONS", "--scope", "MANAGE_KEYS", "--env", "test", "--expires-in", "30d"),
        *("--cidr", "10.0.0.0/8", "--cidr", "::1/128", "--cap-units", "7", "--allow-action", "echo"),
        *("--metadata", '{"team": "search"}', "--trusted-documents-only"),
    )
    shown = here("key", "show", key["id"], "--json").json
    assert shown == {name: value for name, value in key.items() if name != "secret"}
    assert shown["scopes"] == ["MANAGE_KEYS", "RUN_ACTIONS"]
    assert (shown["env"], shown["cap_units"], shown["metadata"]) == ("test", 7, {"team": "search"})
    assert (shown["cidrs"], shown["allowed_actions"]) == (["10.0.0.0/8", "::1/128"], ["echo"])
    assert shown["trusted_documents_only"] is True
    assert key["secret"].startswith("af_test_")
    assert shown["expires_at"][:4].isdigit()
    table = here("key", "show", key["id"]).stdout
    assert "10.0.0.0/8, ::1/128" in table
    standing = here("usage", "show", "--account", account, "--key", key["id"], "--json").json
    assert (standing["used"], standing["limit"]) == (0, 7)


def test_the_list_pages_and_filters(here: Run, account: str) -> None:
    other = here("account", "create", "--email", "other@example.com", "--json").json["id"]
    names = {created(here, account)["id"], created(here, account)["id"]}
    gone = created(here, other)["id"]
    here("key", "revoke", gone)
    assert {key["id"] for key in here("key", "list", "--account", account, "--json").json} == names
    assert [key["id"] for key in here("key", "list", "--status", "revoked", "--json").json] == [gone]
    first = here("key", "list", "--account", account, "--first", "1")
    behind = re.search(r"api-factory key list --after (key_\w{22})", first.stderr)
    assert behind is not None
    second = here("key", "list", "--account", account, "--after", behind[1], "--json").json
    assert {behind[1], second[0]["id"]} == names
    empty = here("key", "list", "--status", "suspended")
    assert (empty.stdout, empty.stderr) == (
        "",
        "Next: api-factory key create --account ACCOUNT --name NAME\n",
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--scope", "FLY"), "FLY"),
        (("--name", "a\x1b[2Jb"), "The name holds a control character"),
        (("--name", "a\nb"), "The name holds a control character"),
        (("--name", "a\u202eb"), "turns the direction of text"),
        (("--cidr", "10.0.0.0/99"), "10.0.0.0/99"),
        (("--allow-action", "fly"), "There is no action 'fly'; there are ping, echo"),
        (("--actions", "not_there"), "The module not_there: cannot be imported"),
    ],
)
def test_a_wish_that_cannot_be_met_issues_nothing(
    here: Run, account: str, options: tuple[str, ...], sentence: str
) -> None:
    refused(here("key", "create", "--account", account, "--name", "ci", *options), sentence)
    assert here("key", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("show", "af_live_not-a-key"), "This is no id of a key"),
        (("create", "--account", "a", "--name", "n", "--expires-in", "soon"), "such as 30d"),
        (("create", "--account", "a", "--name", "n", "--metadata", "{"), "It is not JSON"),
        (("create", "--account", "a", "--name", "n", "--metadata", "[]"), "It is no JSON object"),
        (("create", "--account", "a", "--name", "n", "--env", "prod"), "'live', 'test'"),
        (("create", "--name", "n"), "Missing option '--account'"),
    ],
)
def test_a_mistake_in_the_command_line_is_2_and_says_what_is_right(
    here: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    outcome = here("key", *arguments)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert sentence in outcome.stderr
    assert "not-a-key" not in outcome.stderr


def test_a_refusal_with_json_is_one_line_on_stderr(here: Run) -> None:
    outcome = here("key", "create", "--account", "nobody@example.com", "--name", "n", "--json")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert json.loads(outcome.stderr) == {
        "error": {
            "code": "NOT_FOUND",
            "message": "There is no such account; give its id, such as acc_…, or its e-mail.",
        }
    }


def test_a_key_can_be_revoked_while_an_authors_module_is_broken(
    here: Run, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = created(here, account)
    monkeypatch.setenv("API_FACTORY_ACTIONS", "not_there")
    refused(here("key", "create", "--account", account, "--name", "n"), "not_there")
    assert here("key", "revoke", key["id"]).code == 0
