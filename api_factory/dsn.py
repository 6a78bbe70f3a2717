"""The address of a PostgreSQL: checked before anything connects, and told without its password."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from api_factory.errors import ConfigurationError

_SCHEMES = ("postgresql", "postgres")
_ODD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_STRAY_IN_DATABASE = frozenset("/@:")
_DEFAULT_PORT = "5432"
_LARGEST_PORT = 65_535
_USUAL_MISTAKE = (
    "write postgresql://user:password@host:5432/name, with special characters of the password "
    "percent-encoded, such as %2F for / and %40 for @"
)


def check_dsn(text: str) -> None:
    """Return when the text is an address that a connection can be tried at.

    Raises `ConfigurationError` that says what is wrong and never repeats a part of the text: where a
    password holds a / or an @, any part of it may be the password.
    """
    problem = _problem(text)
    if problem is not None:
        raise ConfigurationError(f"DATABASE_URL {problem}; {_USUAL_MISTAKE}.")


def place_of(text: str) -> str:
    """Return `host:port/database` of a checked address, without user and password."""
    parts = urlsplit(text)
    options = _options(parts)
    hosts = parts.netloc.rpartition("@")[2] or options.get("host", "")
    if not hosts.startswith("/") and _port_of(hosts) is None:
        hosts += f":{options.get('port', _DEFAULT_PORT)}"
    database = unquote(parts.path[1:]) or options.get("dbname", "")
    return f"{unquote(hosts)}/{database}" if database else unquote(hosts)


def _problem(text: str) -> str | None:
    if not text.isprintable() or " " in text:
        return "holds a space or a control character"
    if _ODD_PERCENT.search(text):
        return "holds a % that begins no percent-encoded character"
    try:
        parts = urlsplit(text)
        options = _options(parts)
    except ValueError:
        return "is no address"
    if parts.scheme not in _SCHEMES:
        return "does not begin with postgresql://"
    return _problem_of_parts(parts, options)


def _problem_of_parts(parts: SplitResult, options: dict[str, str]) -> str | None:
    if parts.fragment or parts.netloc.count("@") > 1 or _STRAY_IN_DATABASE & set(parts.path[1:]):
        return "holds a character that parts it at the wrong place"
    hosts = parts.netloc.rpartition("@")[2] or options.get("host", "")
    if not hosts:
        return "names no host"
    ports = [_port_of(host) for host in hosts.split(",")] + options.get("port", _DEFAULT_PORT).split(",")
    if not all(port is None or _is_port(port) for port in ports):
        return "names a port that is no number from 1 to 65535"
    return None


def _options(parts: SplitResult) -> dict[str, str]:
    if not parts.query:
        return {}
    return {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=True).items()}


def _port_of(host: str) -> str | None:
    """Return what follows the colon of a host; an IPv6 address in brackets has colons of its own."""
    if host.startswith("/"):
        return None
    _, colon, port = host.rpartition("]")[2].partition(":")
    return port if colon else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= _LARGEST_PORT
