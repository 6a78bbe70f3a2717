"""Where a store of counters is: the URLs of redis-py and those of the `limits` library.

`redis://`, `rediss://` (TLS) and `unix://` name one server, `redis+cluster://host:port,host:port` a cluster
by some of its servers, `redis+sentinel://host:port,host:port/service` a service that Sentinels watch; the
last two take TLS as `rediss+…`, a user and password that hold for every server, and `/service/3` a database.
`valkey` may be said for `redis`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from api_factory.errors import ConfigurationError
from api_factory.limits.wires import CONNECT_SECONDS, EXCHANGE_SECONDS, ClusterWire, DirectWire, Wire

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
CONNECTIONS_MAX: Final = 32
"""To each server of a cluster; elsewhere a wire opens one for each batch under way."""

_SCHEME = re.compile(r"(?:async\+)?(?:redis|valkey)(?P<tls>s?)(?:\+(?P<kind>unix|cluster|sentinel))?")
_EXAMPLES = (
    "redis://host:6379/0, unix:///path, redis+cluster://host:6379 or redis+sentinel://host:26379/service"
)


@dataclass(frozen=True, slots=True)
class _Servers:
    """Several servers, named in one URL."""

    addresses: tuple[tuple[str, int], ...]
    path: tuple[str, ...]
    options: dict[str, Any]


def open_wire(url: str) -> Wire:
    """Return the wire to the store at this address; nothing is connected.

    Raises `ConfigurationError`, which does not repeat the address, for it may hold a password.
    """
    try:
        return _wire(url)
    except (ValueError, LookupError):
        raise ConfigurationError(f"REDIS_URL is not an address of a Redis; write {_EXAMPLES}.") from None


def _wire(url: str) -> Wire:
    name, _, rest = url.partition(":")
    if name.lower() == "unix":
        return _one(url)
    scheme = _SCHEME.fullmatch(name.lower())
    if scheme is None:
        raise ValueError(name)
    if scheme["kind"] is None:
        return _one(f"redis{scheme['tls']}:{rest}")
    if scheme["kind"] == "unix":
        return _one(f"unix:{rest}")
    make = _cluster if scheme["kind"] == "cluster" else _sentinel
    return make(rest, bool(scheme["tls"]))


def _one(url: str) -> Wire:
    parse_url(url)  # a mistake is to be known at the start
    return DirectWire(
        lambda: [redis.asyncio.Redis.from_url(url, retry=_no_retry(), socket_connect_timeout=CONNECT_SECONDS)]
    )


def _cluster(rest: str, tls: bool) -> Wire:
    servers = _servers(rest, REDIS_PORT)

    def connect() -> RedisCluster:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in servers.addresses],
            retry=_no_retry(),
            socket_timeout=EXCHANGE_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            max_connections=CONNECTIONS_MAX,
            ssl=tls,
            **servers.options,
        )

    return ClusterWire(connect)


def _sentinel(rest: str, tls: bool) -> Wire:
    servers = _servers(rest, SENTINEL_PORT)
    service, database = servers.path[0], int(servers.path[1] if len(servers.path) > 1 else 0)
    options: dict[str, Any] = {
        **servers.options,
        "retry": _no_retry(),
        "socket_connect_timeout": CONNECT_SECONDS,
        "ssl": tls,
    }
    # A Sentinel that is silent must leave time to ask another.
    ask = {**options, "socket_timeout": EXCHANGE_SECONDS / 4, "socket_connect_timeout": CONNECT_SECONDS / 4}

    def connect() -> list[redis.asyncio.Redis]:
        sentinel = Sentinel(servers.addresses, sentinel_kwargs=ask, **options)  # type: ignore[no-untyped-call]
        return [sentinel.master_for(service, db=database), *sentinel.sentinels]

    return DirectWire(connect)


def _servers(rest: str, default_port: int) -> _Servers:
    # One by one: with several hosts, of which one is an IPv6 address, the whole is no URL to `urlsplit`.
    authority, slash, path = rest.removeprefix("//").partition("/")
    login, _, hosts = authority.rpartition("@")
    locations = [urlsplit(f"//{one}") for one in hosts.split(",")]
    addresses = tuple((one.hostname or "", one.port or default_port) for one in locations)
    if not rest.startswith("//") or not all(host for host, _ in addresses):
        raise ValueError(hosts)
    account = urlsplit(f"//{login}@")
    named = {"username": account.username, "password": account.password}
    options = {name: unquote(value) for name, value in named.items() if value}
    names = urlsplit(slash + path).path.split("/")
    return _Servers(addresses, tuple(filter(None, names)), options)


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)
