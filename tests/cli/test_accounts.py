"""`api-factory account`, `plan` and `usage`."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from tests.cli.conftest import Run

ONE_PLAN = """
[[plan]]
slug = "solo"
name = "Solo"
price = 900
quota_units = 10
"""


def execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def test_an_account_is_created_with_its_overrides(here: Run) -> None:
    wishes = ("--name", "Ada", "--plan", "pro", "--quota", "500", "--rate", "100000/second")
    outcome = here("account", "create", "--email", "Ada@Example.com", *wishes, "--json")
    account = outcome.json
    assert re.fullmatch(r"acc_\w{22}", account["id"])
    assert {name: value for name, value in account.items() if name not in ("id", "created_at")} == {
        "email": "ada@example.com",
        "name": "Ada",
        "plan": "pro",
        "status": "ACTIVE",
        "suspended_reason": None,
        "quota_units": 500,
        "rate": "100000/second",
        "override_reason": None,
    }
    assert outcome.stderr == f"Next: api-factory key create --account {account['id']} --name first\n"
    assert here("account", "show", "ada@example.com", "--json").json == account
    readable = here("account", "create", "--email", "bob@example.com")
    assert re.fullmatch(r"acc_\w{22}\n", readable.stdout)


def test_an_account_is_changed_and_follows_its_plan_again(here: Run) -> None:
    account = here("account", "create", "--email", "ada@example.com", "--json").json["id"]
    assert here("account", "set-plan", account, "pro", "--json").json["plan"] == "pro"
    changed = here("account", "set-quota", account, "5_000", "--reason", "a gift", "--json").json
    assert (changed["quota_units"], changed["override_reason"]) == (5_000, "a gift")
    assert here("usage", "show", "--account", account, "--json").json["limit"] == 5_000
    assert here("account", "set-rate", account, "3/second", "--json").json["rate"] == "3/second"
    assert here("account", "set-rate", account, "none", "--json").json["rate"] is None
    assert here("account", "set-quota", account, "none", "--json").json["quota_units"] is None
    assert here("usage", "show", "--account", account, "--json").json["limit"] == 100_000
    suspended = here("account", "suspend", account, "--reason", "unpaid", "--json").json
    assert (suspended["status"], suspended["suspended_reason"]) == ("SUSPENDED", "unpaid")
    assert here("account", "suspend", account).code == 1
    assert here("account", "resume", "ada@example.com", "--json").json["status"] == "ACTIVE"


def test_accounts_are_listed_page_by_page(here: Run) -> None:
    nobody = here("account", "list")
    assert (nobody.stdout, nobody.stderr) == (
        "",
        "Next: api-factory account create --email you@example.com\n",
    )
    for name in ("a", "b"):
        here("account", "create", "--email", f"{name}@example.com")
    page = here("account", "list", "--first", "1")
    behind = re.search(r"--after (acc_\w{22})", page.stderr)
    assert behind is not None
    assert re.split(" {2,}", page.stdout.splitlines()[0]) == [
        *("ID", "EMAIL", "NAME", "PLAN", "STATUS", "QUOTA UNITS", "RATE", "CREATED AT")
    ]
    rest = here("account", "list", "--after", behind[1], "--json").json
    assert [each["email"] for each in rest] == ["a@example.com"]
    assert "account show" in here("account", "list").stderr


@pytest.mark.parametrize("units", ["many", "1.5", "9223372036854775808", "²"])
def test_a_quota_that_is_no_number_of_units_is_a_usage_error(here: Run, units: str) -> None:
    outcome = here("account", "set-quota", "ada@example.com", units)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "give one of 0 or more, or none" in outcome.stderr


def test_a_taken_email_is_refused_and_changes_nothing(here: Run) -> None:
    here("account", "create", "--email", "ada@example.com")
    again = here("account", "create", "--email", "ADA@example.com", "--plan", "pro")
    assert (again.code, again.stdout) == (1, "")
    assert again.stderr == "Error: An account has this e-mail already; use that one or another e-mail.\n"
    assert [each["plan"] for each in here("account", "list", "--json").json] == ["free"]


def test_a_file_of_plans_is_applied_once_and_stays(here: Run, folder: Path) -> None:
    assert [plan["slug"] for plan in here("plan", "list", "--json").json] == ["free", "pro", "scale"]
    file = folder / "plans.toml"
    file.write_text(ONE_PLAN)
    outcome = here("plan", "apply", str(file), "--json")
    assert outcome.json == {"created": ["solo"], "changed": [], "archived": ["free", "pro", "scale"]}
    assert f"API_FACTORY_PLANS_FILE={file}" in outcome.stderr
    assert here("plan", "apply", str(file), "--json").json["created"] == []
    (plan,) = here("plan", "list", "--json").json
    assert (plan["slug"], plan["price"], plan["currency"], plan["quota_units"]) == ("solo", 900, "usd", 10)
    assert len(here("plan", "list", "--archived", "--json").json) == 4
    assert "9.00 USD" in here("plan", "list").stdout


def test_a_bad_file_of_plans_changes_nothing(here: Run, folder: Path) -> None:
    file = folder / "plans.toml"
    file.write_text(ONE_PLAN.replace("quota_units", "quota"))
    outcome = here("plan", "apply", str(file))
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "plan 'solo'" in outcome.stderr
    assert here("plan", "apply", str(folder / "missing.toml")).code == 2
    assert len(here("plan", "list", "--json").json) == 3


def test_usage_shows_the_period_and_what_is_left(here: Run) -> None:
    here("account", "create", "--email", "ada@example.com", "--quota", "0")
    outcome = here("usage", "show", "--account", "ada@example.com", "--json")
    standing = outcome.json
    assert list(standing) == ["used", "reserved", "limit", "remaining", "period_start", "period_end"]
    assert (standing["used"], standing["reserved"], standing["limit"], standing["remaining"]) == (0, 0, 0, 0)
    assert standing["period_start"] < standing["period_end"]
    assert "set-quota" in outcome.stderr
    test = here("usage", "show", "--account", "ada@example.com", "--env", "test", "--json").json
    assert test["limit"] == 1_000


def test_verify_ends_with_1_when_a_balance_is_not_the_sum_of_its_events(
    here: Run, fresh_database_url: str
) -> None:
    account = here("account", "create", "--email", "ada@example.com", "--json").json["id"]
    clean = here("usage", "verify", "--json")
    assert (clean.code, clean.json) == (0, {"drift": 0, "rows": 0, "events": 0, "differences": []})
    execute(
        fresh_database_url,
        "INSERT INTO quota (account_id, key_id, livemode, period_start, period_end, hard_limit, used) "
        "SELECT id, '00000000-0000-0000-0000-000000000000', true, now(), now() + interval '1 month', 9, 3 "
        "FROM account",
    )
    drifted = here("usage", "verify", "--json")
    assert drifted.code == 1
    assert (drifted.json["drift"], drifted.json["rows"]) == (3, 1)
    (difference,) = drifted.json["differences"]
    assert (difference["account_id"], difference["used"], difference["events"]) == (account, 3, 0)
