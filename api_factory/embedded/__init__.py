"""PostgreSQL and Valkey started as children of this server, for when no address of one is configured."""

from __future__ import annotations

from api_factory.embedded.binaries import find_binaries
from api_factory.embedded.failure import EmbeddedPostgresFailed, EmbeddedServerFailed, EmbeddedValkeyFailed
from api_factory.embedded.postgres import EmbeddedPostgres
from api_factory.embedded.valkey import EmbeddedValkey, find_valkey

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresFailed",
    "EmbeddedServerFailed",
    "EmbeddedValkey",
    "EmbeddedValkeyFailed",
    "find_binaries",
    "find_valkey",
]
