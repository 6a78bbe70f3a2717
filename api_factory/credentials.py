"""What a client presents: the text of an API key and the address it comes from.

Pure: header fields go in as the pairs of bytes that ASGI gives, and no HTTP library is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from api_factory.errors import BadUserInput, Unauthenticated


@dataclass(frozen=True, slots=True)
class Credentials:
    """The presented key, not yet checked in any way, or None; and the client's address."""

    text: str | None = field(repr=False)
    address: str


def from_headers(headers: Iterable[tuple[bytes, bytes]], address: str) -> Credentials:
    """Read the key from `Authorization: Bearer` (RFC 6750 section 2.1) or `X-API-Key`.

    Names must be in lower case, as ASGI gives them. The same key in both headers counts once.

    Raises:
        Unauthenticated: Authorization has another scheme, or no key behind it.
        BadUserInput: The headers hold two different keys.
    """
    found: str | None = None
    for name, value in headers:
        if name == b"authorization":
            text = _bearer(value)
        elif name == b"x-api-key":
            text = value.strip().decode("latin-1")
        else:
            continue
        if found is not None and found != text:
            raise BadUserInput("The request holds two different API keys; send one, in one header.")
        found = text
    return Credentials(found, address)


def counted_address(address: str) -> str:
    """Return what a limit without a key counts: an IPv4 address, or the /64 that one customer gets."""
    try:
        client = ip_address(address)
    except ValueError:
        return address
    mapped = getattr(client, "ipv4_mapped", None)
    if mapped is not None or client.version == 4:
        return str(mapped or client)
    return str(ip_network((client, 64), strict=False))


def _bearer(value: bytes) -> str:
    scheme, _, key = value.strip().partition(b" ")
    if scheme.lower() != b"bearer":
        # The scheme is not repeated: a client that forgot it has sent its key in that place.
        raise Unauthenticated(
            "The Authorization header does not use the Bearer scheme; send `Authorization: Bearer <key>`.",
            presented=True,
        )
    key = key.strip()
    if not key:
        raise Unauthenticated(
            "The Authorization header holds no key; send `Authorization: Bearer <key>`.", presented=True
        )
    return key.decode("latin-1")
