"""Who is measured: this server with one layer off in turn, the bare limit, and the peers.

A contender is a server and what it is asked. Contenders that differ in the request only share one process.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench.customers import PLANS_FILE
from bench.environments import NODE_PEERS, ROOT, node_peers, python_peers
from bench.ground import CALLERS, Ground, libpq_variables
from bench.requests import (
    BARE_LIST,
    CALL,
    FREE_CALL,
    LIST,
    PUBLIC_PING,
    RESERVED_CALL,
    REST_CALL,
    Request,
)
from bench.servers import PORT, Program

UVICORN_OPTIONS: Final = (
    *("--host", "127.0.0.1", "--port", PORT, "--loop", "uvloop", "--http", "httptools", "--ws", "none"),
    *("--log-level", "warning", "--no-access-log", "--no-server-header", "--no-proxy-headers"),
)
"""As `api-factory serve` runs uvicorn (`api_factory/cli/worker.py`)."""

EXECUTOR_VARIABLE: Final = "API_FACTORY_EXECUTOR"


class Server(Protocol):
    """A program that can be started on a ground. Equal servers are one process."""

    def program(self, ground: Ground) -> Program:
        """Return how to start it; what it needs is made now. Raises `BenchFailed`."""


@dataclass(frozen=True, slots=True)
class ApiFactory:
    """`api-factory serve` as in production, on a database of so many keys.

    With `has_redis` its limits are in Redis; without, one worker counts in its memory.
    """

    executor: str = "compiled"
    has_access_log: bool = True
    has_redis: bool = False
    workers: int = 1
    keys: int = CALLERS
    has_many_callers: bool = False

    def program(self, ground: Ground) -> Program:
        """Return the command and its settings; nothing of this shell's own settings reaches it."""
        customers = ground.customers(self.keys)
        settings = {
            "DATABASE_URL": customers.database_url,
            "API_FACTORY_ENV": "production",
            "API_FACTORY_DATA_DIR": str(ground.directory),
            "API_FACTORY_KEY_PEPPER": f"1:{ground.pepper}",
            "API_FACTORY_METRICS_TOKEN": ground.pepper,
            "API_FACTORY_PLANS_FILE": str(PLANS_FILE),
            "API_FACTORY_LOG_LEVEL": "info" if self.has_access_log else "warning",
            EXECUTOR_VARIABLE: self.executor,
        }
        if self.has_redis:
            settings["REDIS_URL"] = ground.redis_url
        serve = ("-m", "api_factory.cli", "serve", "--port", PORT, "--actions", "bench.actions")
        return Program(
            "api-factory",
            (sys.executable, *serve, "--workers", str(self.workers)),
            ground.directory,
            customers.many_keys if self.has_many_callers else customers.keys,
            _variables(**settings),
        )


@dataclass(frozen=True, slots=True)
class Uvicorn:
    """An ASGI application under uvicorn with the options of this server."""

    application: str
    has_own_environment: bool = False

    def program(self, ground: Ground) -> Program:
        """Return the command."""
        python = python_peers() if self.has_own_environment else Path(sys.executable)
        keys = ground.customers().keys
        argv = (str(python), "-m", "uvicorn", self.application, *UVICORN_OPTIONS)
        return Program(self.application, argv, ground.directory, keys, _variables(BENCH_KEYS=str(keys)))


@dataclass(frozen=True, slots=True)
class Node:
    """A script of Node. With `has_usage` it has a database to count calls in."""

    script: str
    is_jit: bool = False
    has_usage: bool = False

    def program(self, ground: Ground) -> Program:
        """Return the command."""
        keys = ground.customers().keys
        variables = _variables(
            NODE_ENV="production",
            PORT=PORT,
            BENCH_KEYS=str(keys),
            JIT=str(int(self.is_jit)),
            USAGE=str(int(self.has_usage)),
            **(libpq_variables(ground.usage_url) if self.has_usage else {}),
        )
        return Program(self.script, (node_peers(), self.script), NODE_PEERS, keys, variables)


@dataclass(frozen=True, slots=True)
class Contender:
    """One line of a table: `name` for commands and files, `title` for people."""

    name: str
    title: str
    server: Server
    request: Request = CALL
    is_guarded: bool = True
    connections: int | None = None
    """So many at once, where it is not as many as the others of its table."""


def _variables(**more: str) -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "API_FACTORY_POSTGRES_BIN")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return {**inherited, "PYTHONPATH": str(ROOT), **more}


OURS: Final = ApiFactory()
_BARE: Final = Uvicorn("bench.peers.bare:app")
_STRAWBERRY: Final = Uvicorn("bench.peers.strawberry_view:app")
_STRAWBERRY_CACHED: Final = Uvicorn("bench.peers.strawberry_view:cached_app")
_JIT: Final = Node("mercurius.js", is_jit=True)

BARE: Final = Contender("bare", "Bare ASGI", _BARE, is_guarded=False)
FULL: Final = Contender("full", "API-Factory, everything on", OURS)
FREE: Final = Contender("free", "… without the durable charge", OURS, FREE_CALL)
GRAPHQL_CORE: Final = Contender("graphql-core", "… executed by graphql-core", ApiFactory("graphql-core"))
REDIS: Final = Contender("redis", "… limits in Redis", ApiFactory(has_redis=True))
STRAWBERRY_CACHED: Final = Contender(
    "strawberry-cached", "Strawberry's view with both caches", _STRAWBERRY_CACHED
)
JIT: Final = Contender("mercurius-jit", "Mercurius with JIT", _JIT)
JIT_USAGE: Final = Contender(
    "mercurius-jit-usage", "Mercurius with JIT, writes usage", Node("mercurius.js", True, True)
)

ABLATION: Final = (
    FREE,
    GRAPHQL_CORE,
    REDIS,
    Contender("quiet", "… without the access log", ApiFactory(has_access_log=False)),
    Contender("rest", "… by the REST mirror", OURS, REST_CALL),
    Contender("reserved", "… units reserved, then settled", OURS, RESERVED_CALL),
    Contender("ping", "… anonymous, public, free ping", OURS, PUBLIC_PING, is_guarded=False),
)
PEERS: Final = (
    JIT,
    Contender("mercurius", "Mercurius without JIT", Node("mercurius.js")),
    JIT_USAGE,
    Contender("apollo", "Apollo Server, standalone", Node("apollo.js")),
    Contender("yoga", "GraphQL Yoga", Node("yoga.js")),
    STRAWBERRY_CACHED,
    Contender("strawberry", "Strawberry's view as shipped", _STRAWBERRY),
    Contender("ariadne", "Ariadne", Uvicorn("bench.peers.ariadne_view:app", True)),
    Contender("graphene", "Graphene", Uvicorn("bench.peers.graphene_view:app", True)),
)
LISTS: Final = (
    Contender("bare-list", "Bare ASGI, the same bytes", _BARE, BARE_LIST, is_guarded=False),
    Contender("full-list", "API-Factory, everything on", OURS, LIST),
    Contender("graphql-core-list", "… executed by graphql-core", ApiFactory("graphql-core"), LIST),
    Contender("mercurius-jit-list", "Mercurius with JIT", _JIT, LIST),
    Contender("strawberry-cached-list", "Strawberry's view with both caches", _STRAWBERRY_CACHED, LIST),
)


def keyed(keys: int, *, has_many_callers: bool = False) -> Contender:
    """Return this server on a database of so many keys, called by 64 of them or by up to 10,000."""
    callers = "10,000" if has_many_callers else str(CALLERS)
    return Contender(
        f"keys-{keys}{'-many' if has_many_callers else ''}",
        f"{keys:,} keys, {callers} of them call",
        ApiFactory(keys=keys, has_many_callers=has_many_callers),
    )


def staffed(workers: int, connections: int) -> Contender:
    """Return this server with so many workers, called from so many connections in all.

    Its limits are in Redis whatever the number of workers, so that nothing but that number differs.
    """
    words = "1 worker" if workers == 1 else f"{workers} workers"
    return Contender(
        f"workers-{workers}-{connections}",
        f"{words}, {connections} connections",
        ApiFactory(has_redis=True, workers=workers),
        connections=connections,
    )
