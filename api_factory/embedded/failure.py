"""The one way in which an embedded server fails."""

from __future__ import annotations

from pathlib import Path

_LINES_SHOWN = 6


class EmbeddedServerFailed(Exception):
    """A server cannot serve; the message says what failed, the fix, and the last log lines."""

    def __init__(self, problem: str, fix: str, log: str = "") -> None:
        super().__init__("\n".join([f"{problem} {fix}", *_last_lines(log)]))


class EmbeddedPostgresFailed(EmbeddedServerFailed):
    """The embedded PostgreSQL cannot serve."""


class EmbeddedValkeyFailed(EmbeddedServerFailed):
    """The embedded Valkey cannot serve."""


def unwritable(directory: Path, error: OSError) -> EmbeddedPostgresFailed:
    """The refusal for a directory in which nothing can be written."""
    return EmbeddedPostgresFailed(
        f"The embedded PostgreSQL cannot write to {directory} ({error.strerror}).",
        "Set API_FACTORY_DATA_DIR to a directory that this user can write to, or DATABASE_URL to a server.",
    )


def _last_lines(log: str) -> list[str]:
    return [f"  {line}" for line in log.strip().splitlines()[-_LINES_SHOWN:]]
