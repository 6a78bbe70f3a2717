"""What is kept of a request that its client may send again."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Outcome:
    """A reply that was written: what a retry gets byte for byte."""

    status: int
    code: str
    """`OK` or the code of its first error, for the metrics and the log."""
    media: str
    """The media type of the body."""
    body: bytes
    request_id: str
    is_passing: bool = False
    """An error in it is this server's fault or has gone by when the client comes again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt's hold on a name that a key gave to its request; who loses it cannot commit."""

    key_id: UUID
    name: str
    attempt: UUID


@dataclass(frozen=True, slots=True)
class Finish:
    """An entry with the outcome that ends it; `body` is None when it was too large to keep."""

    entry: Entry
    status: int
    code: str
    media: str
    body: bytes | None
