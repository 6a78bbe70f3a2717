"""The identity under which this process holds reservations, kept alive by heartbeats."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import Any, Final
from uuid import UUID

from api_factory.db import Database
from api_factory.ids import uuid7
from api_factory.usage import store

LOGGER = logging.getLogger("api_factory.workers")

LEASE_SECONDS: Final = 15.0
HEARTBEATS_A_LEASE: Final = 5
CLOSED_RESERVATIONS_KEPT_DAYS: Final = 7


class RegisteredWorker:
    """Registers itself, renews its lease, and takes a new identity when the old one was given up.

    Whatever a given-up identity held has gone back to its accounts, and nothing can be settled under it
    any more: a process that was paused past its lease cannot charge for what it held.
    """

    def __init__(self, db: Database, *, lease_seconds: float = LEASE_SECONDS) -> None:
        """Take the database and how long silence is forgiven; `register` makes the identity known."""
        self._db = db
        self._lease_seconds = lease_seconds
        self._id = uuid7()
        self._replacing = asyncio.Lock()
        self._line: Any = None
        self._is_registered = False

    @property
    def id(self) -> UUID:
        """Return the present identity."""
        return self._id

    @property
    def heartbeat_seconds(self) -> float:
        """Return how often to beat: several beats may be lost before the lease is."""
        return self._lease_seconds / HEARTBEATS_A_LEASE

    async def register(self) -> None:
        """Take a new identity."""
        fresh = uuid7()
        await store.insert_worker(self._db, fresh, socket.gethostname(), os.getpid())
        self._id = fresh
        self._is_registered = True

    async def replace(self, lost: UUID) -> UUID:
        """Return an identity that is not `lost`, which has been given up; of many who ask one registers."""
        async with self._replacing:
            if self._id == lost:
                LOGGER.warning("this worker had been given up; it registers anew")
                await self.register()
            return self._id

    async def beat(self) -> None:
        """Renew the lease; when it was lost, register anew."""
        present = self._id
        # Its own connection: a pool full of slow reads must not look like a dead worker.
        if self._line is None or self._line.is_closed():
            self._line = await self._db.connect()
        if not await store.beat(self._line, present):
            await self.replace(present)

    async def count_live(self) -> int:
        """Return how many workers of this database have been heard of within the lease."""
        return await store.count_live_workers(self._db, self._lease_seconds)

    async def reap(self) -> None:
        """Give back what dead workers hold, and forget reservations closed long ago."""
        voided = await store.reap(self._db, self._lease_seconds)
        if voided:
            LOGGER.warning("gave back %d reservations of workers that are gone", voided)
        await store.delete_closed_reservations(self._db, CLOSED_RESERVATIONS_KEPT_DAYS)

    async def sign_off(self) -> None:
        """Leave the list of workers."""
        line, self._line = self._line, None
        if line is not None:
            line.terminate()
        if self._is_registered:
            await store.delete_worker(self._db, self._id)
