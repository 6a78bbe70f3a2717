"""Where a buyer's browser may be sent after a page of Stripe: an open redirect would be a gift to thieves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from api_factory.errors import ConfigurationError, ReturnAddressNotAllowed

_LONGEST = 5_000
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class ReturnAddresses:
    """The allowed origins; `allows_this_machine` in development."""

    origins: frozenset[str]
    allows_this_machine: bool

    @classmethod
    def of(cls, origins: Iterable[str], *, allows_this_machine: bool) -> ReturnAddresses:
        """Read origins. Raises `ConfigurationError` for what is none, or not https."""
        for written in origins:
            if _origin(written) != written.rstrip("/") or not _is_safe(written):
                raise ConfigurationError(
                    f"API_FACTORY_BILLING_RETURN_ORIGINS: {written!r} is no origin; write each as "
                    "https://app.example.com, without a path."
                )
        return cls(frozenset(written.rstrip("/") for written in origins), allows_this_machine)

    def check(self, name: str, url: str) -> None:
        """Refuse an address that is not of an allowed origin, with the setting that would allow it.

        Raises `ReturnAddressNotAllowed`.
        """
        is_plain = len(url) <= _LONGEST and url.isascii() and url.isprintable() and " " not in url
        origin = _origin(url) if is_plain and "\\" not in url else None
        if origin is not None and (origin in self.origins or self._is_this_machine(url)):
            return
        raise ReturnAddressNotAllowed(name)

    def _is_this_machine(self, url: str) -> bool:
        return self.allows_this_machine and urlsplit(url).hostname in _LOOPBACK


def _origin(url: str) -> str | None:
    """Return scheme, host and port as browsers compare them (RFC 6454), or None when there is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_default = port is None or port == {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" if is_default else f"{parts.scheme}://{host}:{port}"


def _is_safe(origin: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme == "https" or parts.hostname in _LOOPBACK
