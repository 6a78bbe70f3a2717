"""Addresses of stores: what is understood, and that a mistake is said without its password."""

from __future__ import annotations

import pytest

from api_factory.errors import ConfigurationError
from api_factory.limits import open_wire
from api_factory.limits.wires import ClusterWire, DirectWire

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", {"host": "cache"}),
        ("valkey://u:p%40ss@cache:6390/3", {"port": 6390, "db": 3, "username": "u", "password": "p@ss"}),
        ("async+redis://cache:6390/3", {"port": 6390, "db": 3}),
        ("rediss://cache:6390?ssl_check_hostname=no", {"ssl_check_hostname": False}),
        ("valkeys://cache", {"host": "cache"}),
        ("unix:///run/valkey.sock?db=2", {"path": "/run/valkey.sock", "db": 2}),
        ("redis+unix:///run/valkey.sock", {"path": "/run/valkey.sock"}),
    ],
)
def test_one_server_is_named_as_redis_py_and_the_limits_library_do(
    url: str, expected: dict[str, object]
) -> None:
    wire = open_wire(url)
    assert isinstance(wire, DirectWire)
    options = wire._connect()[0].connection_pool.connection_kwargs
    assert {name: options.get(name) for name in expected} == expected
    assert options["retry"].get_retries() == 0


async def test_a_cluster_is_named_by_some_of_its_servers() -> None:
    wire = open_wire("rediss+cluster://u:secret@one:7000,[::1]:7001,three")
    assert isinstance(wire, ClusterWire)
    client = wire._connect()
    nodes = client.nodes_manager.startup_nodes.values()
    assert {(node.host, node.port) for node in nodes} == {("one", 7000), ("::1", 7001), ("three", 6379)}
    assert client.connection_kwargs["password"] == "secret"
    assert client.connection_kwargs["socket_timeout"] == 0.2
    assert client.connection_kwargs["connection_class"].__name__ == "SSLConnection"
    assert client.retry.get_retries() == 0
    await client.aclose()


def test_a_service_is_named_behind_its_sentinels() -> None:
    wire = open_wire("redis+sentinel://:secret@one:26380,two/limits/3")
    assert isinstance(wire, DirectWire)
    pool = wire._connect()[0].connection_pool
    assert pool.service_name == "limits"
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"], each["password"]) for each in asked] == [
        ("one", 26380, "secret"),
        ("two", 26379, "secret"),
    ]
    assert (pool.connection_kwargs["db"], pool.connection_kwargs["password"]) == (3, "secret")


@pytest.mark.parametrize(
    "url",
    [
        *("http://:hunter2@cache", "cache:6379", "", "redis+cluster://", "redis+sentinel://:hunter2@one"),
        *("redis+sentinel://one/limits/x", "redis+cluster://one:hunter2", "redis://cache:hunter2"),
    ],
)
def test_what_is_no_address_is_said_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^REDIS_URL is not an address of a Redis; write ") as error:
        open_wire(url)
    assert "hunter2" not in str(error.value)
