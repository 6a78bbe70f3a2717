"""What one worker remembers of keys, and how it learns that it must forget.

A snapshot is served only while a poll of the change epoch that began within the last second has succeeded,
so whatever committed a second ago is known here, with or without its notification. A fill carries the epoch
it was read at: one that a later invalidation has overtaken is read again and never stored. When the epoch
cannot be polled, every caller reads the primary or is refused; nothing is ever served on trust.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from api_factory.changes import CHANNEL
from api_factory.clock import Clock
from api_factory.db import Database, outages_as_unavailable
from api_factory.errors import Unavailable
from api_factory.keys import store
from api_factory.keys.model import KeySnapshot, Reading

__all__ = ["KeyCache", "KeySnapshot"]

POLL_SECONDS: Final = 0.5
TRUST_SECONDS: Final = 1.0
READ_SECONDS: Final = 3.0
LONGEST_BACKOFF_SECONDS: Final = 2.0
# Beyond this many changes at once it is cheaper to forget everything than to ask what changed.
MOST_CHANGES_FOLLOWED: Final = 1_000
MOST_FILL_ATTEMPTS: Final = 3

T = TypeVar("T")

log = logging.getLogger(__name__)


class KeyCache:
    """The key snapshots of one worker; a hit is one dictionary lookup and never waits."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        max_entries: int = 100_000,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Start empty and untrusted; the least recently used of `max_entries` makes room for the next."""
        self._db = db
        self._monotonic = clock.monotonic
        self._poll_seconds = poll_seconds
        self._memory = _Memory(max_entries)
        # Those that a caller may join, and all that are under way.
        self._fills: dict[UUID, asyncio.Task[KeySnapshot | None]] = {}
        self._filling: set[asyncio.Task[KeySnapshot | None]] = set()
        self._seen_epoch = 0
        self._trusted_until = float("-inf")
        self._time: tuple[datetime, float] | None = None
        self._listener: Any = None
        self._invalidations = 0
        self._woken = asyncio.Event()
        self._polling = asyncio.Lock()
        self._follower: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many snapshots are held."""
        return len(self._memory)

    @property
    def is_trusted(self) -> bool:
        """Tell whether a poll that began within the last second has succeeded."""
        return self._monotonic() < self._trusted_until

    @property
    def is_listening(self) -> bool:
        """Tell whether notifications reach this worker; without them changes are seen by the poll."""
        return self._listener is not None and not self._listener.is_closed()

    async def open(self) -> None:
        """Begin to follow changes; an unreachable database leaves the cache untrusted, not broken."""
        with contextlib.suppress(Unavailable):
            await self.listen()
            await self.poll()
        self._follower = _detached(self._follow())

    async def close(self) -> None:
        """Stop following; no task and no connection is left behind."""
        tasks = [*self._filling, *([self._follower] if self._follower else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._follower = None
        self._fills.clear()
        self._trusted_until = float("-inf")
        self._drop_listener()

    def hit(self, key_id: UUID) -> KeySnapshot | None:
        """Return what is remembered of a key, or None when it must be read."""
        return self._memory.get(key_id) if self._monotonic() < self._trusted_until else None

    async def get(self, key_id: UUID) -> KeySnapshot | None:
        """Return a key's snapshot, None when there is no such key.

        What committed a second before the call is in it, and all that committed before the latest
        `invalidate` of the key. Callers at once share one reading, which may have begun before the later of
        them came, but never before a change that this worker had heard of by then. Raises `Unavailable`
        when it must be read and cannot be.
        """
        snapshot = self.hit(key_id)
        if snapshot is not None:
            return snapshot
        if not self.is_trusted:
            return await self._fill(key_id)
        fill = self._fills.get(key_id)
        if fill is None:
            fill = self._fills[key_id] = _detached(self._fill(key_id))
            self._filling.add(fill)
            fill.add_done_callback(lambda task: self._landed(key_id, task))
        # A caller that goes away must not take the answer from those who wait for the same key.
        found = await asyncio.shield(fill)
        return found if self.is_trusted else await self._fill(key_id)

    def invalidate(self, key_id: UUID) -> None:
        """Forget a key; the next `get` reads it anew, even when a fill is under way."""
        self._invalidations += 1
        self._memory.drop(key_id)
        self._fills.pop(key_id, None)

    def database_now(self) -> datetime:
        """Return the time of the database's clock, at most one round trip ahead and never behind it.

        Raises `Unavailable` before anything has been read.
        """
        if self._time is None:
            raise Unavailable("The clock of the database has not been read yet; retry in a moment.")
        moment, read_at = self._time
        return moment + timedelta(seconds=self._monotonic() - read_at)

    async def listen(self) -> None:
        """Connect for notifications unless connected. Raises `Unavailable`."""
        if self.is_listening:
            return
        self._drop_listener()
        connection = await self._db.connect()
        try:
            with outages_as_unavailable():
                await connection.add_listener(CHANNEL, self._wake)
        except BaseException:
            connection.terminate()
            raise
        self._listener = connection

    async def poll(self) -> None:
        """Read the change epoch and forget what has changed since the last poll. Raises `Unavailable`."""
        async with self._polling:
            source: store.Source = self._listener if self.is_listening else self._db
            begun = self._monotonic()
            with outages_as_unavailable():
                epoch, now = await store.read_epoch(source)
                # A database that was restored or failed over may know less than this worker has seen.
                is_followed = 0 <= epoch - self._seen_epoch <= MOST_CHANGES_FOLLOWED
                has_news = is_followed and epoch != self._seen_epoch
                changed = await store.changed_since(source, self._seen_epoch) if has_news else ()
            # No await from here on: a fill lands either before this and is dropped, or after and compares.
            if is_followed:
                self._memory.drop_owned(changed)
            else:
                self._memory.clear()
            if epoch != self._seen_epoch:
                # Their reading may be older than the change: whoever comes now begins another.
                self._fills.clear()
            self._seen_epoch = epoch
            self._time = (now, begun)
            self._trusted_until = begun + TRUST_SECONDS

    async def _follow(self) -> None:
        backoff_seconds = 0.0
        while True:
            try:
                await self._rest(self._poll_seconds)
                await self._step()
                if backoff_seconds:
                    log.info("key changes are followed again")
                backoff_seconds = 0.0
            except Exception as error:
                # Whatever it is: the cache is untrusted until a poll succeeds, so trying again is safe.
                if not backoff_seconds:
                    log.warning("key changes cannot be followed; every call reads the database: %s", error)
                self._drop_listener()
                backoff_seconds = min(LONGEST_BACKOFF_SECONDS, backoff_seconds * 2 or 0.05)
                await asyncio.sleep(backoff_seconds)

    async def _step(self) -> None:
        """Listen and poll within the time of trust; when that fails, poll through the pool."""
        try:
            async with asyncio.timeout(TRUST_SECONDS):
                await self.listen()
                await self.poll()
                return
        except (Unavailable, TimeoutError):
            self._drop_listener()
        try:
            async with asyncio.timeout(TRUST_SECONDS):
                await self.poll()
        except TimeoutError:
            raise Unavailable("The database does not answer.") from None

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    async def _fill(self, key_id: UUID) -> KeySnapshot | None:
        """Read a key until no invalidation has overtaken the reading; only such a one is remembered.

        Under changes without end the last reading is returned all the same: it began after the call.
        """
        for _ in range(MOST_FILL_ATTEMPTS):
            invalidations = self._invalidations
            reading = await self._read(key_id)
            if reading.epoch >= self._seen_epoch and invalidations == self._invalidations:
                if reading.snapshot is not None:
                    self._memory.put(reading.snapshot)
                break
        return reading.snapshot

    async def _read(self, key_id: UUID) -> Reading:
        begun = self._monotonic()
        try:
            async with asyncio.timeout(READ_SECONDS):
                reading = await store.read_snapshot(self._db, key_id)
        except TimeoutError:
            raise Unavailable("The database does not answer; retry in a moment.") from None
        if not self.is_trusted:
            self._time = (reading.database_now, begun)
        return reading

    def _landed(self, key_id: UUID, fill: asyncio.Task[KeySnapshot | None]) -> None:
        if self._fills.get(key_id) is fill:
            del self._fills[key_id]
        self._filling.discard(fill)
        if not fill.cancelled():
            # Whoever waits gets the exception; when all have gone, it is nobody's.
            fill.exception()

    def _wake(self, *_: object) -> None:
        self._woken.set()

    def _drop_listener(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.terminate()


class _Memory:
    """Snapshots by key, the least recently used first to go, found again by account and plan."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[UUID, KeySnapshot] = OrderedDict()
        self._keys_of: dict[UUID | str, set[UUID]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key_id: UUID) -> KeySnapshot | None:
        snapshot = self._entries.get(key_id)
        if snapshot is not None:
            self._entries.move_to_end(key_id)
        return snapshot

    def put(self, snapshot: KeySnapshot) -> None:
        self.drop(snapshot.key_id)
        while len(self._entries) >= self._max_entries:
            self.drop(next(iter(self._entries)))
        self._entries[snapshot.key_id] = snapshot
        for owner in _owners(snapshot):
            self._keys_of.setdefault(owner, set()).add(snapshot.key_id)

    def drop(self, key_id: UUID) -> None:
        snapshot = self._entries.pop(key_id, None)
        if snapshot is None:
            return
        for owner in _owners(snapshot):
            owned = self._keys_of[owner]
            owned.discard(key_id)
            if not owned:
                del self._keys_of[owner]

    def drop_owned(self, changed: tuple[UUID | str, ...]) -> None:
        """Forget keys, the keys of accounts, and the keys of accounts on plans."""
        for owner in changed:
            for key_id in (owner, *self._keys_of.get(owner, ())):
                if isinstance(key_id, UUID):
                    self.drop(key_id)

    def clear(self) -> None:
        self._entries.clear()
        self._keys_of.clear()


def _owners(snapshot: KeySnapshot) -> Iterator[UUID | str]:
    yield snapshot.account_id
    yield snapshot.plan_slug


def _detached(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task that inherits no transaction of the caller."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())
