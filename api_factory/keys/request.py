"""What somebody asks of a new key, checked once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_network
from typing import Final

import orjson

from api_factory.accounts import checked_text, checked_units
from api_factory.actions.names import is_scope
from api_factory.errors import BadUserInput
from api_factory.keys.model import NewKey

LARGEST_METADATA_BYTES: Final = 4_096
LONGEST_LIST: Final = 200
_LONGEST_NAME: Final = 200
_LONGEST_SCOPE: Final = 63
# JSON writes NUL as \u0000; an even number of backslashes before it are themselves written ones.
_NUL_IN_JSON: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ADDRESS_CHARACTERS: Final = re.compile(r"[0-9A-Fa-f:./]+")


def checked(new: NewKey, known_scopes: frozenset[str] | None) -> NewKey:
    """Return the request in canonical form. Raises `BadUserInput` with what is wrong and how to mend it."""
    return replace(
        new,
        name=checked_text("name", new.name, longest=_LONGEST_NAME, required=True),
        scopes=checked_scopes(new.scopes, known_scopes),
        allowed_actions=None if new.allowed_actions is None else _checked_actions(new.allowed_actions),
        cidrs=_distinct("networks", (_checked_network(text) for text in new.cidrs)),
        cap_units=checked_units("cap", new.cap_units),
        metadata=_checked_metadata(new.metadata),
    )


def checked_scopes(scopes: Iterable[str], known_scopes: frozenset[str] | None) -> tuple[str, ...]:
    """Return the scopes, each once. Raises `BadUserInput` naming one that is not known."""
    distinct = _distinct("scopes", scopes)
    for scope in distinct:
        if not is_scope(scope) or len(scope) > _LONGEST_SCOPE:
            raise BadUserInput(f"{scope[:80]!r} is not a scope; scopes are written like RUN_ACTIONS.")
        if known_scopes is not None and scope not in known_scopes:
            raise BadUserInput(
                f"The scope {scope} is not known; choose from {', '.join(sorted(known_scopes))}."
            )
    return distinct


def refuse_unless_ahead(expires_at: datetime | None, now: datetime) -> None:
    """Return when the expiry is ahead. Raises `BadUserInput`."""
    if expires_at is None:
        return
    if expires_at.tzinfo is None:
        raise BadUserInput("The expiry names no time zone; write it like 2030-01-31T00:00:00Z.")
    if expires_at <= now:
        raise BadUserInput("The expiry is in the past; choose a later moment.")


def _checked_actions(names: Iterable[str]) -> tuple[str, ...]:
    return _distinct(
        "allowed actions",
        (checked_text("name of an action", name, longest=_LONGEST_NAME, required=True) for name in names),
    )


def _checked_network(text: str) -> str:
    try:
        if not _ADDRESS_CHARACTERS.fullmatch(text):
            raise ValueError("it has characters that no network has")
        return str(ip_network(text))
    except ValueError as error:
        reason = str(error)[:120]
        raise BadUserInput(
            f"{text[:60]!r} is not a network ({reason}); write it like 203.0.113.0/24 or 2001:db8::/32."
        ) from None


def _checked_metadata(metadata: Mapping[str, object]) -> Mapping[str, object]:
    try:
        written = orjson.dumps(dict(metadata))
    except (TypeError, ValueError):
        raise BadUserInput("The metadata is not a JSON object; send names with JSON values.") from None
    if len(written) > LARGEST_METADATA_BYTES:
        raise BadUserInput(f"The metadata is larger than {LARGEST_METADATA_BYTES} bytes; store less.")
    if _NUL_IN_JSON.search(written):
        raise BadUserInput("The metadata holds a NUL character, which cannot be stored; remove it.")
    return metadata


def _distinct(label: str, texts: Iterable[str]) -> tuple[str, ...]:
    distinct = tuple(dict.fromkeys(texts))
    if len(distinct) > LONGEST_LIST:
        raise BadUserInput(f"There are more than {LONGEST_LIST} {label}; name fewer.")
    return distinct
