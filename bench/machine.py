"""What a result depends on besides the code: the machine, the interpreter's build, and the versions."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from bench.environments import ROOT, find_node, node_packages, python_packages
from bench.ground import Ground
from bench.scratch import SERVER_VARIABLE, fetchval

_PACKAGES: Final = (
    *("uvicorn", "uvloop", "httptools", "strawberry-graphql", "graphql-core", "starlette", "orjson"),
    *("asyncpg", "redis", "prometheus-client"),
)


def machine(ground: Ground) -> dict[str, str]:
    """Return facts about the machine, none of which names it."""
    embedded = "embedded" if not os.environ.get(SERVER_VARIABLE) else f"named in {SERVER_VARIABLE}"
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "server on cores": _listed(ground.cores.server),
        "load, PostgreSQL and Redis on cores": _listed(ground.cores.load),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load before the run": " ".join(f"{each:.1f}" for each in os.getloadavg()),
        "PostgreSQL": f"{_setting(ground, 'server_version')}, {embedded}",
        "fsync": _setting(ground, "fsync"),
        "synchronous_commit": _setting(ground, "synchronous_commit"),
        "file system of the scratch directory": _file_system(ground.directory),
    }


def versions() -> dict[str, str]:
    """Return the versions of all that is measured or measures, and how the interpreter was built."""
    found = {
        "Python": f"{platform.python_version()}, {platform.python_compiler()}, {_build()}",
        "wrk": _first_line(["wrk", "--version"]),
        **{name: _installed(name) for name in _PACKAGES},
        **{f"peers: {name}": text for name, text in python_packages().items() if _is_peer(name)},
    }
    node = find_node()
    if node is not None:
        found["Node"] = _first_line([node, "--version"])
        found |= node_packages()
    return {name: text for name, text in found.items() if text}


def revision() -> str:
    """Return what git calls the code, `-dirty` when it was changed since."""
    return _first_line(["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude", "*"])


def _build() -> str:
    """Tell how CPython was compiled: without profile-guided optimisation it is slower by a tenth or more."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    is_profiled, is_linked = "--enable-optimizations" in arguments, "--with-lto" in arguments
    return f"{'with' if is_profiled else 'without'} PGO, {'with' if is_linked else 'without'} LTO"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    over = [each for each in mounts if directory.is_relative_to(each[1])]
    return max(over, key=lambda each: len(each[1]))[2] if over else "unknown"


def _setting(ground: Ground, name: str) -> str:
    return str(asyncio.run(fetchval(ground.server, f"SHOW {name}")))


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _is_peer(package: str) -> bool:
    return package in {"ariadne", "graphene", "graphql-core", "starlette-graphene3"}


def _first_line(argv: Sequence[str]) -> str:
    if shutil.which(argv[0]) is None:
        return ""
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    # wrk prints its version among its usage, and ends with 1.
    return next(iter((done.stdout or done.stderr).splitlines()), "").partition(" [")[0].strip()


def _listed(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
