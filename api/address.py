"""Whose address a request comes from, when proxies stand between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from api_factory.errors import ConfigurationError

_Address = IPv4Address | IPv6Address

# How a socket that serves both families writes its IPv4 peers.
_MAPPED = "::ffff:"


class TrustedProxies:
    """The networks whose `X-Forwarded-For` is believed; with none, only the socket's peer is.

    Guarantee: what a client writes into the header itself is never believed, as the hops are read from the
    right, and the first one that is not a trusted proxy is the client.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        """Read addresses and networks; `ConfigurationError` names the setting and the one that is wrong."""
        self._networks = tuple(map(_network, networks))

    def client_address(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the address of the client behind this peer; the peer itself unless it is trusted."""
        if not self._networks:
            return peer.removeprefix(_MAPPED) if "." in peer else peer
        current = _parse(peer)
        if current is None:
            return peer
        hops = _forwarded_for(headers)
        while hops and self._trusts(current):
            hop = _parse(hops.pop())
            if hop is None:
                # Nothing to the left of what is no address can be believed.
                break
            current = hop
        return str(current)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigurationError(
            f"API_FACTORY_TRUSTED_PROXIES: {text!r} is no address or network; "
            "write it like 10.0.0.7 or 10.0.0.0/8."
        ) from None


def _forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    # Several header lines are one list (RFC 9110 section 5.3).
    lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(lines).split(",")] if lines else []


def _parse(text: str) -> _Address | None:
    """Read `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
