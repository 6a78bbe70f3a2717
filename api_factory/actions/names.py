"""Names: how Python's become GraphQL's, which ones are taken, and what a scope looks like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

BUILT_IN_SCOPES: Final = ("RUN_ACTIONS", "READ_USAGE", "MANAGE_KEYS", "MANAGE_BILLING")
"""The scopes every server has; an action may add its own."""

DEFAULT_SCOPES: Final = ("RUN_ACTIONS", "READ_USAGE")
"""What a new key may do when nobody says otherwise."""

ACTION_SCOPE: Final = "RUN_ACTIONS"
"""The scope of an action that names none."""

RESERVED_FIELDS: Final = frozenset(
    {
        "action",
        "actions",
        "apiKeys",
        "createCheckoutSession",
        "createKey",
        "createPortalSession",
        "echo",
        "node",
        "ping",
        "plans",
        "rateLimit",
        "resumeKey",
        "revokeKey",
        "rotateKey",
        "suspendKey",
        "usage",
        "viewer",
    }
)
"""Root fields of the server; no author's action may take one."""

_ACTION_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MEMBER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SCOPE = re.compile(r"[A-Z][A-Z0-9_]*")


def camel_case(name: str) -> str:
    """Turn `word_count` into `wordCount`; the underscore that avoids a keyword (`from_`) is dropped."""
    head, *tail = name.rstrip("_").split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def is_action_name(name: str) -> bool:
    """Say whether a name is snake_case in ASCII, which every face can spell."""
    return _ACTION_NAME.fullmatch(name) is not None


def is_member_name(name: str) -> bool:
    """Say whether a parameter, field or type has a name that GraphQL takes (specification section 2.1.9)."""
    return _MEMBER_NAME.fullmatch(name) is not None


def is_scope(name: str) -> bool:
    """Say whether a scope can be a value of a GraphQL enum."""
    return _SCOPE.fullmatch(name) is not None


def first_collision(names: Iterable[str]) -> tuple[str, str] | None:
    """Find two Python names that the API would spell alike."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(camel_case(name), name)) is not name:
            return other, name
    return None
