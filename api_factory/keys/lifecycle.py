"""The states of a key and the verbs that each allows: one table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from api_factory.errors import InvalidState


class KeyStatus(StrEnum):
    """Whether a key works. EXPIRED is never stored: the database's clock decides it."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"


class KeyVerb(StrEnum):
    """What can be done to a key."""

    SUSPEND = "suspend"
    RESUME = "resume"
    REVOKE = "revoke"
    ROTATE = "rotate"


ALLOWED: Final[Mapping[KeyStatus, tuple[KeyVerb, ...]]] = {
    KeyStatus.ACTIVE: (KeyVerb.SUSPEND, KeyVerb.REVOKE, KeyVerb.ROTATE),
    KeyStatus.SUSPENDED: (KeyVerb.RESUME, KeyVerb.REVOKE),
    KeyStatus.EXPIRED: (KeyVerb.REVOKE,),
    KeyStatus.REVOKED: (),
}
"""A suspended key that expires counts as expired; a revoked one stays revoked."""


def refuse_unless_allowed(status: KeyStatus, verb: KeyVerb) -> None:
    """Return when a key in this state takes the verb. Raises `InvalidState` naming the ones it takes."""
    if verb not in ALLOWED[status]:
        allowed = tuple(verb.value for verb in ALLOWED[status])
        raise InvalidState(verb.value, status.value, allowed)
