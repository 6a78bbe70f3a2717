"""The files that are, or would be, committed."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LOCAL = {"node_modules", "__pycache__", "dist", "build"}
_HIDDEN_BUT_OURS = {".ci", ".github"}


def committed(*suffixes: str) -> list[Path]:
    """Return the project's files with one of ``suffixes``, or all; without git, what is not plainly local."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not any(map(_is_local, path.relative_to(ROOT).parts))]
    return sorted(path for path in found if path.is_file() and (not suffixes or path.suffix in suffixes))


def _is_local(part: str) -> bool:
    return part in _LOCAL or (part.startswith(".") and part not in _HIDDEN_BUT_OURS)
