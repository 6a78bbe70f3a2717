"""PostgreSQL started as a child of this server, for when no database address is configured."""

from __future__ import annotations

from api_factory.embedded.binaries import find_binaries
from api_factory.embedded.failure import EmbeddedPostgresFailed
from api_factory.embedded.postgres import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresFailed", "find_binaries"]
