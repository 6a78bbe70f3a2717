"""Settings: read from where they should be, and a start refused with the sentence that mends it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from api_factory.dsn import place_of
from api_factory.errors import ConfigurationError
from api_factory.settings import Settings, load_settings, parse_peppers

PEPPER = "a pepper of forty characters for tests 1"
GOOD = {
    "API_FACTORY_ENV": "production",
    "DATABASE_URL": "postgresql://u:hidden-password@db.example.test/api",
    "API_FACTORY_KEY_PEPPER": f"1:{PEPPER}",
    "API_FACTORY_METRICS_TOKEN": "t" * 20,
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return monkeypatch


def test_nothing_set_is_a_development_server_on_an_embedded_database(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load_settings()
    assert (settings.env, settings.effective_log_format) == ("development", "text")
    assert settings.uses_embedded_database
    assert settings.embedded_directory == tmp_path / ".api-factory" / "postgres"
    assert "host=" in settings.database_dsn


def test_lists_are_split_at_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("API_FACTORY_ACTIONS", "one, two,,three")
    environment.setenv("API_FACTORY_TRUSTED_PROXIES", "10.0.0.0/8")
    settings = load_settings(log_format="json")
    assert settings.actions == ("one", "two", "three")
    assert settings.trusted_proxies == ("10.0.0.0/8",)
    assert settings.effective_log_format == "json"
    assert load_settings(actions=("a",)).actions == ("a",)


def test_a_complete_production_environment_starts(environment: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        environment.setenv(name, value)
    settings = load_settings()
    assert settings.is_production
    assert settings.effective_log_format == "json"
    assert settings.peppers == {1: PEPPER.encode()}
    assert "hidden-password" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", None),
        ("API_FACTORY_KEY_PEPPER", None),
        ("API_FACTORY_KEY_PEPPER", "1:short"),
        ("API_FACTORY_KEY_PEPPER", "1:" + "p" * 40),
        ("API_FACTORY_KEY_PEPPER", f"1:{PEPPER},2:{'123456789' * 5}"),
        ("API_FACTORY_METRICS_TOKEN", None),
        ("API_FACTORY_METRICS_TOKEN", "short"),
        ("API_FACTORY_ENV", "staging"),
        ("API_FACTORY_MAX_BODY_BYTES", "many"),
        ("API_FACTORY_WORKERS", "0"),
    ],
)
def test_what_is_missing_or_weak_in_production_stops_the_start_and_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    for each, good in GOOD.items():
        environment.setenv(each, good)
    if value is None:
        environment.delenv(name)
    else:
        environment.setenv(name, value)
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    assert refusal.value.message.startswith(name)
    assert "hidden-password" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_production_may_consent_to_the_embedded_database(environment: pytest.MonkeyPatch) -> None:
    for each, good in GOOD.items():
        environment.setenv(each, good)
    environment.delenv("DATABASE_URL")
    environment.setenv("API_FACTORY_ALLOW_EMBEDDED_DATABASE", "true")
    assert load_settings().uses_embedded_database


def test_secrets_come_from_files_too(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "api_factory_metrics_token").write_text("from-a-file-of-secrets")
    script = (
        "from api_factory.settings import load_settings as l; print(l().metrics_token.get_secret_value())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "API_FACTORY_SECRETS_DIR": str(tmp_path), "PYTHONPATH": _root()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "from-a-file-of-secrets"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hun/ter2@h:5432/x",
        "postgresql://u:12/ter2@h:5432/x",
        "postgresql://u:hun?ter2@h:5432/x",
        "postgresql://u:hun#ter2@h:5432/x",
        "postgresql://u:hun@ter2@h:5432/x",
        "postgresql://u:hun[ter2@h:5432/x",
        "postgresql://u:hun%ter2@h:5432/x",
        "postgresql://u:hun ter2@h:5432/x",
        "postgresql://u:hunter2@h:port/x",
        "postgresql://u:hunter2@h:0/x",
        "postgresql://u:hunter2@h:²/x",
        "postgresql://u:hunter2@h:70000/x",
        "postgresql://u:hunter2@h/x?port=many",
        "postgresql://u:hunter2@/x",
        "mysql://u:hunter2@h/x",
        "u:hunter2@h/x",
    ],
)
def test_an_address_that_cannot_be_one_is_refused_without_a_part_of_its_password(
    environment: pytest.MonkeyPatch, url: str
) -> None:
    environment.setenv("DATABASE_URL", url)
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    assert refusal.value.message.startswith("DATABASE_URL ")
    assert "percent-encoded" in refusal.value.message
    assert "hun" not in refusal.value.message
    assert "ter2" not in refusal.value.message


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://u:hun%2Fter2@h:5433/x", "h:5433/x"),
        ("postgres://h", "h:5432"),
        ("postgresql://u@/x?host=/run/postgresql&port=5432", "/run/postgresql/x"),
        ("postgresql://u@[::1]:5433/x?sslmode=require", "[::1]:5433/x"),
        ("postgresql://u@[::1]/x", "[::1]:5432/x"),
        ("postgresql://u:p@one:1,two:2/x?target_session_attrs=read-write", "one:1,two:2/x"),
    ],
)
def test_an_address_is_told_without_its_password(
    environment: pytest.MonkeyPatch, url: str, place: str
) -> None:
    environment.setenv("DATABASE_URL", url)
    assert load_settings().database_dsn == url
    assert place_of(url) == place


def test_a_directory_of_secrets_that_is_not_there_stops_the_start(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "nope", tmp_path / "file"):
        environment.setenv("API_FACTORY_SECRETS_DIR", str(wrong))
        with pytest.raises(ConfigurationError, match=f"API_FACTORY_SECRETS_DIR: {wrong} is no directory"):
            load_settings()
    environment.setenv("API_FACTORY_SECRETS_DIR", str(tmp_path))
    load_settings()


def test_a_dotenv_that_cannot_be_read_stops_the_start(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(b"API_FACTORY_ENV=\xff\n")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_settings()
    (tmp_path / ".env").unlink()
    # Root may read every file, but nobody can read the memory of address 0.
    (tmp_path / ".env").symlink_to("/proc/self/mem")
    with pytest.raises(ConfigurationError, match=r"^\.env cannot be read"):
        load_settings()


def test_the_development_pepper_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = Settings(data_dir=tmp_path / "deep" / "data").peppers
    assert Settings(data_dir=tmp_path / "deep" / "data").peppers == first
    path = tmp_path / "deep" / "data" / "pepper"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["pepper"]
    path.write_text("damaged")
    with pytest.raises(ConfigurationError, match="damaged"):
        _ = Settings(data_dir=tmp_path / "deep" / "data").peppers


def test_processes_that_start_at_once_agree_on_the_pepper(tmp_path: Path) -> None:
    script = "from api_factory.settings import Settings; print(Settings().peppers[1].decode())"
    environment = {**os.environ, "API_FACTORY_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": _root()}
    racers = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({racer.communicate()[0] for racer in racers}) == 1


def test_peppers_have_versions() -> None:
    old, new = "o" * 32, "n" * 32
    assert parse_peppers(old) == {1: old.encode()}
    assert parse_peppers(f"1:{old}, 2:{new}") == {1: old.encode(), 2: new.encode()}
    twice = f"1:{old},1:{new}"
    for wrong in (f"x:{old}", f"0:{old}", f"1:{old},{new}", "1:short", f"40000:{old}", f"²:{old}", twice):
        with pytest.raises(ConfigurationError, match="API_FACTORY_KEY_PEPPER"):
            parse_peppers(wrong)


def _root() -> str:
    return str(Path(__file__).resolve().parents[2])
