"""Column defaults that Piccolo does not bring."""

from __future__ import annotations

import uuid

from piccolo.columns.defaults.uuid import UUID4

from api_factory.ids import uuid7


class UUID7(UUID4):
    """A UUIDv7 made here; rows inserted by hand get the server's random UUID (PostgreSQL 15 has no v7)."""

    def python(self) -> uuid.UUID:
        """Return a new UUIDv7."""
        return uuid7()
