"""Where a webhook may go: a URL somebody wrote must not become a door to this network."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from api_factory.errors import ConfigurationError

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address, behind a translator."""


@dataclass(frozen=True, slots=True)
class AddressRule:
    """Which URLs and addresses are allowed; `allows_this_machine` only in development."""

    allows_this_machine: bool

    def check_url(self, url: str) -> None:
        """Refuse what is no absolute https URL; http only where this machine is allowed, and only to it.

        Raises `ConfigurationError`. A name is checked once more when it has an address.
        """
        parts = urlsplit(url)
        try:
            is_whole = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_whole = False
        if not (is_whole and url.isascii() and url.isprintable() and " " not in url):
            raise ConfigurationError(
                "API_FACTORY_NOTICE_URL is no URL; write it like https://example.com/hooks."
            )
        if parts.username is not None or parts.fragment:
            raise ConfigurationError(
                "API_FACTORY_NOTICE_URL holds a user or a fragment; leave it out, for the signature says who "
                "sends."
            )
        is_local = self.allows_this_machine and is_name_of_this_machine(parts.hostname or "")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
            raise ConfigurationError(
                "API_FACTORY_NOTICE_URL is not https; only in development may it be http, to this machine."
            )

    def allows(self, address: str) -> bool:
        """Tell whether a webhook may be sent to this IP address, whatever form it has."""
        try:
            target = _unwrapped(ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        if self.allows_this_machine and target.is_loopback:
            return True
        return target.is_global and not (
            target.is_multicast or target.is_reserved or target.is_unspecified or _is_site_local(target)
        )


def is_name_of_this_machine(host: str) -> bool:
    """Tell whether a host is localhost (RFC 6761) or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return _unwrapped(ip_address(host)).is_loopback
    except ValueError:
        return False


def _is_site_local(target: IPv4Address | IPv6Address) -> bool:
    return isinstance(target, IPv6Address) and target.is_site_local


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one carries, for that is where the packets go."""
    if not isinstance(address, IPv6Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    tunnelled = address.teredo[1] if address.teredo is not None else None
    return address.ipv4_mapped or address.sixtofour or tunnelled or address
