"""The server starts for an ordinary user and for root alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., list[str]]

ORDINARY_UID = 54_321


def test_an_ordinary_user_starts_it_with_the_standard_library_alone(ground: Path, cycle: Run) -> None:
    uid = ORDINARY_UID if os.geteuid() == 0 else os.geteuid()
    home = ground / "home"
    home.mkdir(mode=0o700)
    os.chown(home, uid, -1)
    said = cycle(home / "postgres", uid if os.geteuid() == 0 else None)
    assert said == ["started", f"{uid} {uid}", "started", "started"]


def test_the_data_belong_to_the_one_who_starts_it(ground: Path, cycle: Run) -> None:
    said = cycle(ground / "own" / "postgres")
    owners = [os.geteuid()] if os.geteuid() else [0, 65_534]  # nobody, in a container without user namespaces
    assert said in [["started", f"{uid} {uid}", "started", "started"] for uid in owners]
