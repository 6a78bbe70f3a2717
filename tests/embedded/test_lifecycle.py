"""The promises of one server per directory, by one process and by several."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from api_factory.embedded import EmbeddedPostgres, EmbeddedPostgresFailed, postgres

Spawn = Callable[[str, Path], subprocess.Popen[str]]

HOLD = "say(server.start()); sys.stdin.readline(); server.stop(); say('stopped')"
BUSY = (
    "select count(*) from pg_stat_activity "
    "where pid <> pg_backend_pid() and state = 'active' and query like '%generate_series%'"
)


async def fetch(server: EmbeddedPostgres, query: str) -> object:
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def let_go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def postmaster_pid(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])


def kill_server(directory: Path) -> None:
    pid = postmaster_pid(directory)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is dead, and the owner has not looked yet


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "did not happen within 30 seconds"
        time.sleep(0.02)


async def test_rows_survive_a_stop_and_a_start(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        await fetch(server, "create table kept as select generate_series(1, 100) as number")
    assert not (directory / "data" / "postmaster.pid").exists()
    with EmbeddedPostgres(directory) as server:
        assert await fetch(server, "select sum(number) from kept") == 5050


def test_the_address_is_known_before_the_start(directory: Path) -> None:
    expected = f"postgresql://postgres@/postgres?host={directory.resolve()}/sock&port=5432"
    assert EmbeddedPostgres(directory).dsn == expected
    assert not directory.exists()


def test_a_second_start_by_the_owner_changes_nothing(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        pid = postmaster_pid(directory)
        assert server.start() == "started"
        assert postmaster_pid(directory) == pid


def test_stopping_twice_or_without_a_start_does_nothing(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    server.stop()
    assert server.start() == "started"
    server.stop()
    server.stop()
    assert server.start() == "started"
    server.stop()


async def test_a_second_process_attaches_and_leaves_the_server_running(directory: Path, spawn: Spawn) -> None:
    with EmbeddedPostgres(directory) as server:
        second = spawn("say(server.start()); server.stop()", directory)
        assert said(second) == "attached"
        assert second.wait(30) == 0
        assert await fetch(server, "select 1") == 1


def test_of_many_at_once_on_an_empty_directory_one_starts_and_the_others_attach(
    directory: Path, spawn: Spawn
) -> None:
    children = [spawn(HOLD, directory) for _ in range(4)]
    assert sorted(said(child) for child in children) == ["attached", "attached", "attached", "started"]


async def test_one_that_was_attached_takes_over_when_the_owner_has_gone(
    directory: Path, spawn: Spawn
) -> None:
    owner = spawn(HOLD, directory)
    assert said(owner) == "started"
    server = EmbeddedPostgres(directory)
    assert server.start() == "attached"
    await fetch(server, "create table kept as select 7 as number")
    let_go(owner)
    assert said(owner) == "stopped"
    assert server.start() == "started"
    try:
        assert await fetch(server, "select number from kept") == 7
    finally:
        server.stop()


async def test_rows_survive_kill_9_of_the_server_and_the_owner_starts_it_again(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        await fetch(server, "create table kept as select generate_series(1, 1000) as number")
        kill_server(directory)
        assert server.start() == "started"
        assert await fetch(server, "select count(*) from kept") == 1000


async def test_an_attached_process_waits_for_the_owner_to_repair_a_killed_server(
    directory: Path, spawn: Spawn
) -> None:
    with EmbeddedPostgres(directory) as server:
        kill_server(directory)
        second = spawn("say('here'); say(server.start())", directory)
        assert said(second) == "here"
        assert server.start() == "started"
        assert said(second) == "attached"


@pytest.mark.parametrize("gone", ["owner", "owner and server"])
async def test_rows_survive_kill_9_of_the_owner(directory: Path, spawn: Spawn, gone: str) -> None:
    owner = spawn(HOLD, directory)
    assert said(owner) == "started"
    server = EmbeddedPostgres(directory)
    server.start()
    await fetch(server, "create table kept as select generate_series(1, 1000) as number")
    if gone == "owner and server":
        os.kill(postmaster_pid(directory), signal.SIGKILL)
    owner.kill()
    owner.wait()
    assert server.start() == "started"
    try:
        assert await fetch(server, "select count(*) from kept") == 1000
    finally:
        server.stop()


def test_the_server_shuts_down_cleanly_by_itself_after_kill_9_of_the_owner(
    directory: Path, spawn: Spawn
) -> None:
    owner = spawn(HOLD, directory)
    assert said(owner) == "started"
    owner.kill()
    owner.wait()
    wait_until(lambda: not (directory / "data" / "postmaster.pid").exists())
    wait_until(lambda: "database system is shut down" in (directory / "postgres.log").read_text())


def test_a_server_that_outlived_its_owner_is_ended_before_the_next_one_starts(directory: Path) -> None:
    # What macOS leaves behind after kill -9 of the owner: a server without the lock.
    left = EmbeddedPostgres(directory)
    left.start()
    assert left._lock is not None
    os.close(left._lock)
    with EmbeddedPostgres(directory) as server:
        assert left._server is not None
        assert left._server.wait(30) == 0
        assert server._server is not None
        assert postmaster_pid(directory) == server._server.pid


async def test_a_process_number_in_use_by_another_program_does_not_hinder_the_start(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        pid_file = (directory / "data" / "postmaster.pid").read_text()
        kill_server(directory)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        numbered = [str(stranger.pid), *pid_file.splitlines()[1:]]
        (directory / "data" / "postmaster.pid").write_text("\n".join(numbered) + "\n")
        with EmbeddedPostgres(directory) as server:
            assert await fetch(server, "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_the_next_start_waits_for_a_query_that_the_dead_server_left_running(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        connection = await asyncpg.connect(server.dsn)
        # Bound to the processor, it does not notice the end of its server.
        busy = asyncio.create_task(connection.fetchval("select count(*) from generate_series(1, 20000000)"))
        while not await fetch(server, BUSY):
            await asyncio.sleep(0.02)
        kill_server(directory)
        assert server.start() == "started"
        assert await busy == 20_000_000
        assert "is still in use" in (directory / "postgres.log").read_text()
        assert await fetch(server, "select 1") == 1


def test_an_owner_whose_server_does_not_answer_is_said(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_START_SECONDS", 0.2)
    directory.mkdir(mode=0o700)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedPostgresFailed, match="is owned by another process, but does not answer"):
            EmbeddedPostgres(directory).start()


def test_a_server_too_slow_to_answer_is_said_and_ended(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(directory):
        pass
    monkeypatch.setattr(postgres, "_START_SECONDS", -1)
    server = EmbeddedPostgres(directory)
    with pytest.raises(EmbeddedPostgresFailed, match="did not answer within"):
        server.start()
    monkeypatch.undo()
    assert server.start() == "started"
    server.stop()


def test_a_server_that_cannot_stop_by_itself_is_made_to(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_STOP_SECONDS", 0.2)
    server = EmbeddedPostgres(directory)
    server.start()
    pid = postmaster_pid(directory)
    os.kill(pid, signal.SIGSTOP)  # from now on only SIGKILL has an effect
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_interrupted_making_is_made_again(directory: Path) -> None:
    draft = directory / "data.new"
    draft.mkdir(parents=True, mode=0o700)
    (draft / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(directory):
        assert not draft.exists()


def test_a_forked_copy_does_not_stop_the_server(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        owner = server._owner_pid
        server._owner_pid = owner + 1  # as it looks from within a forked child
        server.stop()
        server._owner_pid = owner
        assert server._server is not None
        assert server._server.poll() is None


def test_starting_in_another_thread_is_refused(directory: Path) -> None:
    refusals: list[Exception] = []

    def start() -> None:
        try:
            EmbeddedPostgres(directory).start()
        except EmbeddedPostgresFailed as refusal:
            refusals.append(refusal)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(refusals[0])
    assert not directory.exists()


def test_a_long_log_is_put_aside(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir(mode=0o700)
    (directory / "postgres.log").write_bytes(b"x" * 10_000_001)
    with EmbeddedPostgres(directory):
        assert (directory / "postgres.log.1").stat().st_size == 10_000_001
        assert (directory / "postgres.log").stat().st_size < 10_000
