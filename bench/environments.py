"""What the peers need: an environment for those of Python, packages for those of Node, both untracked.

Each is made at first use and again when its list of exact versions changes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.failure import BenchFailed

ROOT: Final = Path(__file__).resolve().parent.parent
LOCAL: Final = ROOT / ".bench"
"""What the benchmark makes for itself in a checkout; nothing there is committed."""
PEERS: Final = Path(__file__).with_name("peers")
NODE_PEERS: Final = PEERS / "node"
_REQUIREMENTS: Final = PEERS / "requirements.txt"
_PACKAGES: Final = NODE_PEERS / "package.json"


def python_peers() -> Path:
    """Return the interpreter of the Python peers' environment. Raises `BenchFailed`."""
    environment = LOCAL / "python"
    python = environment / "bin" / "python"
    stamp, wanted = environment / ".installed", _fingerprint(_REQUIREMENTS)
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(environment, ignore_errors=True)
        _run("The environment of the Python peers", [sys.executable, "-m", "venv", str(environment)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run("Packages of the Python peers", [*pip, "--requirement", str(_REQUIREMENTS)])
        stamp.write_text(wanted)
    return python


def find_node() -> str | None:
    """Return the program `node`, or None where Node or npm is missing."""
    return shutil.which("node") if shutil.which("npm") else None


def node_peers() -> str:
    """Return the program `node` with the packages of its peers beside them. Raises `BenchFailed`."""
    node = find_node()
    if node is None:
        raise BenchFailed("The peers of Node need node and npm; install both, or name others in --only.")
    stamp, wanted = NODE_PEERS / "node_modules" / ".installed", _fingerprint(_PACKAGES)
    if not stamp.exists() or stamp.read_text() != wanted:
        options = ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"]
        _run("Packages of the Node peers", ["npm", "install", *options], NODE_PEERS)
        stamp.write_text(wanted)
    return node


def node_packages() -> dict[str, str]:
    """Return the versions of the packages that the Node peers name and of graphql-jit, as installed."""
    names = [*json.loads(_PACKAGES.read_text())["dependencies"], "graphql-jit"]
    files = {name: NODE_PEERS / "node_modules" / name / "package.json" for name in names}
    return {name: json.loads(file.read_text())["version"] for name, file in files.items() if file.exists()}


def python_packages() -> dict[str, str]:
    """Return the versions that the Python peers' environment is pinned to."""
    lines = _REQUIREMENTS.read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {name: version.strip() for name, version in pairs}


def _fingerprint(file: Path) -> str:
    return hashlib.sha256(f"{sys.version}\n{file.read_text()}".encode()).hexdigest()


def _run(what: str, argv: list[str], directory: Path = ROOT) -> None:
    print(f"{what}: {' '.join(argv)}", file=sys.stderr, flush=True)
    done = subprocess.run(argv, cwd=directory, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise BenchFailed(f"{what} could not be made; the lines above say why.")
