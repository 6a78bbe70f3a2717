from __future__ import annotations

import pytest

from api.address import TrustedProxies
from api_factory.errors import ConfigurationError

NONE: tuple[str, ...] = ()
PRIVATE = ("10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        pytest.param(NONE, "192.0.2.1", ["198.51.100.7"], "192.0.2.1", id="nobody is trusted"),
        pytest.param(NONE, "::ffff:192.0.2.1", [], "192.0.2.1", id="a mapped peer is IPv4"),
        pytest.param(NONE, "::1", [], "::1", id="IPv6 peer"),
        pytest.param(NONE, "", [], "", id="no peer"),
        pytest.param(PRIVATE, "192.0.2.1", ["198.51.100.7"], "192.0.2.1", id="the peer is not trusted"),
        pytest.param(PRIVATE, "10.0.0.1", [], "10.0.0.1", id="nothing forwarded"),
        pytest.param(PRIVATE, "10.0.0.1", ["198.51.100.7"], "198.51.100.7", id="one proxy"),
        pytest.param(PRIVATE, "::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7", id="a mapped proxy"),
        pytest.param(PRIVATE, "2001:db8::1", ["2001:db9::7"], "2001:db9::7", id="IPv6 proxy"),
        pytest.param(PRIVATE, "10.0.0.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7", id="a forged left hop"),
        pytest.param(PRIVATE, "10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7", id="two proxies"),
        pytest.param(
            PRIVATE, "10.0.0.1", ["198.51.100.7", "10.0.0.2"], "198.51.100.7", id="two header lines"
        ),
        pytest.param(PRIVATE, "10.0.0.1", ["6.6.6.6", "198.51.100.7"], "198.51.100.7", id="a forged line"),
        pytest.param(PRIVATE, "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3", id="only proxies"),
        pytest.param(PRIVATE, "10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7", id="with a port"),
        pytest.param(PRIVATE, "10.0.0.1", ["[2001:db9::7]:4711"], "2001:db9::7", id="IPv6 with a port"),
        pytest.param(PRIVATE, "10.0.0.1", ["[2001:db9::7]"], "2001:db9::7", id="IPv6 in brackets"),
        pytest.param(PRIVATE, "10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7", id="a mapped hop"),
        pytest.param(PRIVATE, "10.0.0.1", ["6.6.6.6, unknown"], "10.0.0.1", id="no address"),
        pytest.param(PRIVATE, "10.0.0.1", ["6.6.6.6,"], "10.0.0.1", id="an empty hop"),
        pytest.param(PRIVATE, "10.0.0.1", [""], "10.0.0.1", id="an empty header"),
        pytest.param(PRIVATE, "testclient", ["6.6.6.6"], "testclient", id="a peer that is no address"),
        pytest.param(("10.0.0.1",), "10.0.0.1", ["6.6.6.6, 10.0.0.2"], "10.0.0.2", id="one address only"),
    ],
)
def test_the_client_is_the_first_hop_from_the_right_that_is_no_proxy(
    trusted: tuple[str, ...], peer: str, forwarded: list[str], expected: str
) -> None:
    headers = [(b"accept", b"*/*"), *((b"x-forwarded-for", line.encode()) for line in forwarded)]

    assert TrustedProxies(trusted).client_address(peer, headers) == expected


def test_a_proxy_that_is_no_address_stops_the_start_with_the_name_of_the_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"API_FACTORY_TRUSTED_PROXIES: 'proxy.test'"):
        TrustedProxies(["proxy.test"])
