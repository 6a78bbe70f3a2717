"""Who a PostgreSQL program runs as, and that it ends with the process that started it.

PostgreSQL refuses to run as root. As root a program is therefore started in a user namespace of its
own (it is still root to the files, but holds no capability), or, where namespaces are refused, under
another user id with the one capability to reach the files that root reaches. No user is created, and
no permission outside the given directory is changed. `launch.py` does it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SAME = "same"
NAMESPACE = "namespace"
NOBODY = 65534


def command(identity: str, directory: Path, argv: list[str]) -> list[str]:
    """Return the command that runs ``argv`` in ``directory`` as SAME, NAMESPACE or a user id."""
    script = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py").resolve())]
    return [*script, str(os.getpid()), identity, str(directory), *argv]


def candidates(directory: Path) -> list[str]:
    """Return the identities to try for the data in ``directory``, the best first."""
    if os.geteuid() != 0:
        return [SAME]
    owner = _owner_uid(directory / "data")
    if owner:
        return [str(owner)]
    parent_uid = directory.parent.stat().st_uid
    return [NAMESPACE, *([str(parent_uid)] if parent_uid else []), str(NOBODY)]


def give(identity: str, paths: list[Path]) -> None:
    """Hand each of ``paths`` with all it contains to ``identity``, where that is another user id."""
    if not identity.isdigit():
        return
    uid = int(identity)
    for path in paths:
        for entry in [path, *path.rglob("*")]:
            if entry.lstat().st_uid != uid:
                os.chown(entry, uid, uid, follow_symlinks=False)


def _owner_uid(path: Path) -> int:
    try:
        return path.stat().st_uid
    except FileNotFoundError:
        return 0
