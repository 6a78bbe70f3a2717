"""The doctor's checks of this machine: Python, packages, settings, files, ports. None changes anything."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from api_factory.cli.findings import Finding, fail, failed_by, ok, warn
from api_factory.errors import ConfigurationError
from api_factory.settings import Settings

if TYPE_CHECKING:
    from api_factory.limits import RedisBackend

OLDEST_PYTHON = (3, 11)
HEALTHZ_PATH = "/_api/healthz"

_PROBE_SECONDS = 2.0


def check_python(_: object = None) -> Finding:
    """Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return fail("python", f"Python {version} is too old", "install Python 3.11 or newer")
    return ok("python", version)


def check_packages(_: object = None) -> Finding:
    """Nobody else has a package of our names."""
    from api_factory.cli.shadows import NAMES, find_shadows

    shadows = find_shadows()
    if not shadows:
        return ok("packages", f"{', '.join(NAMES)} are API-Factory's own")
    problem, _, fix = " ".join(shadow.sentence for shadow in shadows).partition("; ")
    make = fail if any(shadow.place is not None for shadow in shadows) else warn
    return make("packages", problem, fix)


def check_directory(settings: Settings) -> Finding:
    """What is kept on this machine can be written."""
    directory = settings.data_dir.absolute()
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        detail = f"{existing} cannot be written to by this user"
        return fail("data directory", detail, "set API_FACTORY_DATA_DIR to a directory that can")
    return ok("data directory", str(directory) if existing == directory else f"{directory}, made when needed")


def check_pepper(settings: Settings) -> Finding:
    """The secret under which keys are hashed is there, or will be made."""
    if settings.key_pepper is not None:
        return ok("pepper", f"version {max(settings.peppers)} of API_FACTORY_KEY_PEPPER hashes new keys")
    if not pepper_path(settings).exists():
        return ok("pepper", "made at the first start")
    return ok("pepper", f"version {max(settings.peppers)} in {pepper_path(settings)}")


def pepper_path(settings: Settings) -> Path:
    """Return where the pepper lies that is made when none is set."""
    return settings.data_dir.absolute() / "pepper"


def check_binaries(settings: Settings) -> Finding:
    """The embedded PostgreSQL is installed, where it is needed."""
    from api_factory.embedded import find_binaries

    if not settings.uses_embedded_database:
        return ok("embedded", "not needed: DATABASE_URL is set")
    return ok("embedded", f"PostgreSQL programs in {find_binaries()}")


def check_redis(settings: Settings) -> Finding:
    """The store of the limits counts, where one is configured."""
    from api_factory.limits import RedisBackend, StoreUnavailable, open_wire

    if settings.redis_url is None:
        return _check_valkey()
    url = settings.redis_url.get_secret_value()
    try:
        asyncio.run(_count_once(RedisBackend(open_wire(url))))
    except StoreUnavailable as error:
        fix = "start it, correct REDIS_URL, or unset it to count on this machine"
        return fail("redis", f"{url} does not answer: {error.reason}", fix)
    except ConfigurationError as error:
        return failed_by("redis", error)
    return ok("redis", f"{url} answers")


async def _count_once(backend: RedisBackend) -> None:
    try:
        await backend.generation()
    finally:
        await backend.close()


def _check_valkey() -> Finding:
    from api_factory.embedded import EmbeddedValkeyFailed, find_valkey

    try:
        find_valkey()
    except EmbeddedValkeyFailed as failure:
        detail = f"not configured, and there is no Valkey for several workers: {failure}"
        return warn("redis", detail, "pip install 'api-factory[embedded]', or set REDIS_URL")
    return ok("redis", "not configured; several workers of this machine share an embedded Valkey")


def check_actions(settings: Settings) -> Finding:
    """Every action can be served."""
    from api_factory.actions import Catalogue

    catalogue = Catalogue.load(settings.actions)
    return ok("actions", ", ".join(action.name for action in catalogue))


def check_plans(settings: Settings) -> Finding:
    """The file of plans can be read."""
    from api_factory.accounts import load_plans

    plans = load_plans(settings.plans_file)
    source = settings.plans_file or "those API-Factory ships"
    return ok("plans", f"{', '.join(plan.slug for plan in plans)} ({source})")


def check_port(address: tuple[str, int]) -> Finding:
    """A server can take its address, or one of ours has it."""
    from api_factory.cli.readiness import status_of
    from api_factory.cli.serving import url_of

    host, port = address
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            healthz = url_of(host, port) + HEALTHZ_PATH
            if error.errno == errno.EADDRINUSE and status_of(healthz, timeout_seconds=_PROBE_SECONDS) == 200:
                return ok("port", f"an API-Factory answers at {host}:{port}")
            detail = f"{host}:{port} cannot be opened ({error.strerror})"
            return warn("port", detail, "end what uses it, or name another with `--port`")
    return ok("port", f"{host}:{port} is free")


def check_tables(_: Settings) -> Finding:
    """The migrations make the tables that the code expects."""
    from api_factory.cli import history

    missing = asyncio.run(history.drift())
    if missing:
        fix = "write the migration with `piccolo migrations new api_factory --auto`"
        return fail("tables", f"they differ from the migrations in {len(missing)} places", fix)
    return ok("tables", "as the migrations make them")
