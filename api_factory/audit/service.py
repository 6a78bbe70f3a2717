"""The audit log: every deed leaves an entry, in the transaction of the deed."""

from __future__ import annotations

from collections.abc import Mapping

from api_factory.audit import store
from api_factory.audit.model import Actor, Entry
from api_factory.db import Database

__all__ = ["Actor", "Audit", "Entry"]


class Audit:
    """Writes and reads the audit log."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def record(
        self,
        actor: Actor,
        verb: str,
        target_kind: str,
        target_id: str,
        *,
        before: Mapping[str, object] | None,
        after: Mapping[str, object] | None,
    ) -> None:
        """Write an entry that commits or rolls back with the deed; never pass a secret.

        `verb` is one word, such as `revoked`; the entry says `<actor kind>:<target kind>:<verb>`, so the
        source of a deed cannot be told wrong. Raises `RuntimeError` outside a transaction.
        """
        if not store.is_in_transaction():
            raise RuntimeError("An audit entry belongs into the transaction of its deed.")
        tag = f"{actor.kind}:{target_kind}:{verb}"
        await store.insert(self._db, actor, tag, (target_kind, target_id), before, after)

    async def entries(self, *, target_id: str | None = None, limit: int = 50) -> tuple[Entry, ...]:
        """Return the newest entries, the newest first; of one thing when its public id is given."""
        if target_id is None:
            return await store.newest(self._db, limit)
        return await store.newest_of_target(self._db, target_id, limit)
