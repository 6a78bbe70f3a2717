"""What the audit log speaks of: who acts, and an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

ActorKind = Literal["key", "staff", "cli", "system"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: a key or a member of staff by public id, the command line, or the server itself."""

    kind: ActorKind
    id: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed: `before` and `after` hold what it changed, None where there was or is nothing."""

    id: int
    at: datetime
    actor: Actor
    verb: str
    target_kind: str
    target_id: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None
