"""The ledger of one worker: charges, reservations and settlements, committed in groups.

There is no timer. While a batch is being committed, requests queue up and become the next batch, so a
lone call pays one round trip and one fsync, and a crowd shares them. A call returns only after its
batch has committed: a reply that left is a charge that is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

import asyncpg

from api_factory.db import outages_as_unavailable
from api_factory.errors import (
    AccountSuspended,
    ApiFactoryError,
    InternalError,
    InvalidKey,
    KeyExpired,
    KeySuspended,
    QuotaExceeded,
    Unavailable,
)
from api_factory.ids import uuid7
from api_factory.usage.outcomes import Finish
from api_factory.usage.standing import QuotaStanding

LOGGER = logging.getLogger("api_factory.ledger")

BATCH_LIMIT: Final = 256
BATCH_BYTES_LIMIT: Final = 4_000_000
QUEUE_LIMIT: Final = 10_000
COMMIT_TIMEOUT_SECONDS: Final = 5.0
# The server gives up first: what was refused here must not commit there when a lock is let go.
STATEMENT_TIMEOUT_SECONDS: Final = 4.0
CONNECT_TIMEOUT_SECONDS: Final = 3.0
RECONNECT_PAUSE_SECONDS: Final = 0.25

_TYPES: Final = (
    *("text", "uuid", "uuid", "uuid", "boolean", "bigint", "bigint", "timestamptz", "bigint", "text"),
    None,  # the worker: one, not one an item
    *("integer", "text", "bigint", "integer"),
)
_ENTRY_TYPES: Final = ("integer", "text", "uuid", "smallint", "text", "text", "bytea")


def _call(function: str, types: Sequence[str | None]) -> str:
    parameters = ", ".join(
        f"${number}::{kind}[]" if kind else f"${number}::uuid" for number, kind in enumerate(types, 1)
    )
    return f"SELECT * FROM {function}({parameters})"  # noqa: S608 - built of the lines above


_COMMIT: Final = _call("ledger_commit", _TYPES)
_COMMIT_ONCE: Final = _call("ledger_commit_once", (*_TYPES, *_ENTRY_TYPES))


class Payer(NamedTuple):
    """Who pays, and what the caller's decision to admit rests on; a tuple, for every call makes one."""

    account_id: UUID
    key_id: UUID
    livemode: bool
    key_epoch: int
    account_epoch: int
    not_after: datetime | None = None


class Line(NamedTuple):
    """One action's share of a charge; a failed one costs nothing and is counted as an error."""

    action: str
    units: int
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units held back for a call that is running; settle or release it."""

    id: UUID
    worker_id: UUID
    units: int
    request_id: str
    standing: QuotaStanding


class Stale(Exception):
    """What the decision to admit rests on has changed; read the key again and come back."""


class Worker(Protocol):
    """The registered identity under which this process holds reservations."""

    @property
    def id(self) -> UUID:
        """Return the present identity."""

    async def replace(self, lost: UUID) -> UUID:
        """Return an identity that is not `lost`, which has been given up; many may ask at once."""


@dataclass(slots=True, eq=False)
class _Item:
    kind: Literal["c", "r", "s", "f"]
    id: UUID
    payer: Payer
    units: int
    request_id: str
    lines: Sequence[Line]
    worker_id: UUID
    waiter: asyncio.Future[asyncpg.Record]
    finish: Finish | None


class Ledger:
    """Charges exactly: the units admitted never exceed a hard quota, whoever else charges meanwhile."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        worker: Worker,
        *,
        observe: Callable[[float, int], None] = lambda seconds, size: None,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        """Take how to connect, the identity for reservations, and who is told seconds and batch sizes."""
        self._connect = connect
        self._worker = worker
        self._observe = observe
        self._queue_limit = queue_limit
        self._queue: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._connection: asyncpg.Connection | None = None
        self._statement: Any = None
        self._statement_once: Any = None
        self._refused_until = 0.0
        self._orphans: dict[UUID, _Item] = {}

    async def open(self) -> None:
        """Start the committer; it connects at the first charge."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="ledger")

    async def close(self) -> None:
        """Commit what is queued, then end. Nothing that was accepted is lost."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), COMMIT_TIMEOUT_SECONDS * 2)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._fail(self._queue, Unavailable("The server is shutting down; retry."))
        self._queue.clear()
        await self._disconnect()

    async def charge(
        self, payer: Payer, lines: Sequence[Line], request_id: str, finish: Finish | None = None
    ) -> QuotaStanding:
        """Charge the lines, all or nothing; return the account's standing after it, durable.

        With `finish` the outcome is stored in the same transaction, and nothing is charged when its entry
        belongs to another attempt: `Unavailable`.

        Raises `QuotaExceeded`, `InvalidKey`, `KeyExpired`, `KeySuspended`, `AccountSuspended`, `Stale`,
        or `Unavailable` when the database does not answer. A refusal leaves no trace.
        """
        units = sum(line.units for line in lines)
        row = await self._submit("c", uuid7(), payer, units, request_id, lines, finish=finish)
        return _admitted(row, payer, units)

    async def reserve(self, payer: Payer, units: int, request_id: str) -> Reservation:
        """Hold units back before the work is done; refuses as `charge` does."""
        reservation_id, owner = uuid7(), self._worker.id
        row = await self._submit("r", reservation_id, payer, units, request_id, (), owner)
        if row["verdict"] == "no_worker":
            owner = await self._worker.replace(owner)
            row = await self._submit("r", reservation_id, payer, units, request_id, (), owner)
        return Reservation(reservation_id, owner, units, request_id, _admitted(row, payer, units))

    async def settle(
        self,
        reservation: Reservation,
        payer: Payer,
        lines: Sequence[Line],
        finish: Finish | None = None,
    ) -> QuotaStanding:
        """Charge what was used of a reservation and give back the rest.

        Refuses as `charge` does; then the reservation is released, except after `Stale`, which leaves it
        open. Raises `Unavailable` when the reservation has been voided, because this worker was given up.
        `finish` is as in `charge`; a reservation whose entry is lost is released.
        """
        units = sum(line.units for line in lines)
        row = await self._submit(
            "s", reservation.id, payer, units, reservation.request_id, lines, reservation.worker_id, finish
        )
        return _admitted(row, payer, units)

    async def release(self, reservation: Reservation, payer: Payer) -> None:
        """Give a reservation back, whatever has become of the key since; twice is once."""
        await self._submit("f", reservation.id, payer, 0, reservation.request_id, (), reservation.worker_id)

    async def release_orphans(self) -> None:
        """Release what could not be closed during an outage, or whose caller left while it was reserved."""
        for item in list(self._orphans.values()):
            # One that cannot be released must not keep the others.
            with contextlib.suppress(ApiFactoryError):
                await self._submit("f", item.id, item.payer, 0, item.request_id, (), item.worker_id)
                self._orphans.pop(item.id, None)

    async def _submit(  # noqa: PLR0913 - the columns of one item of the batch
        self,
        kind: Literal["c", "r", "s", "f"],
        item_id: UUID,
        payer: Payer,
        units: int,
        request_id: str,
        lines: Sequence[Line] = (),
        worker_id: UUID | None = None,
        finish: Finish | None = None,
    ) -> asyncpg.Record:
        if self._task is None:
            raise Unavailable("The server is shutting down; retry.")
        # What is held can always be closed; only new work is turned away.
        if kind in "cr" and len(self._queue) >= self._queue_limit:
            raise Unavailable("The ledger is behind; retry in a moment.")
        waiter: asyncio.Future[asyncpg.Record] = asyncio.get_running_loop().create_future()
        owner = worker_id or self._worker.id
        item = _Item(kind, item_id, payer, units, request_id, lines, owner, waiter, finish)
        self._queue.append(item)
        self._idle.clear()
        self._wake.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            # It was reserved, and its caller left before it could know.
            if kind == "r" and waiter.done() and not waiter.cancelled():
                self._orphans[item.id] = item
            raise

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._take():
                await self._commit(batch)
            self._idle.set()

    def _take(self) -> list[_Item]:
        """Take what is queued, up to the batch limit and of one worker identity, without the abandoned."""
        batch: list[_Item] = []
        stored_bytes = 0
        while self._queue and len(batch) < BATCH_LIMIT and stored_bytes < BATCH_BYTES_LIMIT:
            if batch and self._queue[0].worker_id != batch[0].worker_id:
                break
            item = self._queue.popleft()
            # A charge whose caller has gone is dropped; what was reserved must be closed all the same.
            if not item.waiter.cancelled() or item.kind in "sf":
                batch.append(item)
                if item.finish is not None:
                    stored_bytes += len(item.finish.body or b"")
        return batch

    async def _commit(self, batch: list[_Item]) -> None:
        started = time.perf_counter()
        try:
            with outages_as_unavailable():
                rows = await self._execute(batch)
        except asyncpg.PostgresError as error:
            await self._commit_singly(batch, error)
        except Unavailable as error:
            # What is refused within the pause must not make it longer: a crowd would never get in again.
            if not self._is_pausing:
                self._refused_until = time.monotonic() + RECONNECT_PAUSE_SECONDS
            await self._disconnect()
            self._fail(batch, error)
        except Exception:
            # Whatever it was, the committer goes on and nobody waits for ever.
            LOGGER.exception("a batch of the ledger failed")
            await self._disconnect()
            self._fail(batch, Unavailable("The charge was interrupted; retry."))
        except asyncio.CancelledError:
            self._fail(batch, Unavailable("The server is shutting down; retry."))
            raise
        else:
            self._answer(batch, rows)
            # What is committed is committed, even if the metrics' files are on a full disk.
            with contextlib.suppress(Exception):
                self._observe(time.perf_counter() - started, len(batch))

    def _answer(self, batch: list[_Item], rows: Sequence[asyncpg.Record]) -> None:
        for item, row in zip(batch, rows, strict=True):
            if not item.waiter.done():
                item.waiter.set_result(row)
            elif item.kind == "r":
                # Its caller left while it was being reserved; nobody else will close it.
                self._orphans[item.id] = item

    async def _commit_singly(self, batch: list[_Item], error: asyncpg.PostgresError) -> None:
        """Isolate the item that the database will not take, so that it fails alone."""
        if len(batch) == 1:
            LOGGER.error("the ledger refused an item", exc_info=error)
            # A statement whose plan has become invalid would fail for ever.
            await self._disconnect()
            self._fail(batch, InternalError())
            return
        for item in batch:
            await self._commit([item])

    async def _execute(self, batch: list[_Item]) -> Sequence[asyncpg.Record]:
        finishes = [(number, item.finish) for number, item in enumerate(batch, 1) if item.finish is not None]
        statement = await self._prepared(once=bool(finishes))
        numbered = [(number, line) for number, item in enumerate(batch, 1) for line in item.lines]
        payers = [item.payer for item in batch]
        rows: Sequence[asyncpg.Record] = await statement.fetch(
            [item.kind for item in batch],
            [item.id for item in batch],
            [payer.account_id for payer in payers],
            [payer.key_id for payer in payers],
            [payer.livemode for payer in payers],
            [payer.key_epoch for payer in payers],
            [payer.account_epoch for payer in payers],
            [payer.not_after for payer in payers],
            [item.units for item in batch],
            [item.request_id for item in batch],
            batch[0].worker_id,
            [number for number, _ in numbered],
            [line.action for _, line in numbered],
            [line.units for _, line in numbered],
            [int(line.failed) for _, line in numbered],
            *(_entry_columns(finishes) if finishes else ()),
            timeout=COMMIT_TIMEOUT_SECONDS,
        )
        return rows

    async def _prepared(self, *, once: bool) -> Any:
        statement = self._statement or await self._prepare()
        if not once:
            return statement
        if self._statement_once is None and self._connection is not None:
            self._statement_once = await self._connection.prepare(_COMMIT_ONCE)
        return self._statement_once

    async def _prepare(self) -> Any:
        """Connect and prepare; right after an outage refuse at once instead of queueing up time-outs."""
        if self._is_pausing:
            raise Unavailable("The database cannot be reached; retry in a moment.")
        await self._disconnect()
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            self._connection = await self._connect()
            await self._connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'")
            self._statement = await self._connection.prepare(_COMMIT)
        return self._statement

    @property
    def _is_pausing(self) -> bool:
        return time.monotonic() < self._refused_until

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._statement = self._statement_once = None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.terminate()

    def _fail(self, items: Iterable[_Item], error: ApiFactoryError) -> None:
        for item in items:
            # Whether it was committed is not known; releasing what is closed already does nothing.
            if item.kind != "c":
                self._orphans[item.id] = item
            if not item.waiter.done():
                item.waiter.set_exception(error)


def _entry_columns(finishes: Sequence[tuple[int, Finish]]) -> tuple[list[object], ...]:
    return (
        [number for number, _ in finishes],
        [finish.entry.name for _, finish in finishes],
        [finish.entry.attempt for _, finish in finishes],
        [finish.status for _, finish in finishes],
        [finish.code for _, finish in finishes],
        [finish.media for _, finish in finishes],
        [finish.body for _, finish in finishes],
    )


def _admitted(row: asyncpg.Record, payer: Payer, units: int) -> QuotaStanding:
    standing = QuotaStanding.from_row(row, livemode=payer.livemode)
    verdict: str = row["verdict"]
    if verdict in ("ok", "released"):
        return standing
    raise _refusal(verdict, standing, units)


def _refusal(verdict: str, standing: QuotaStanding, units: int) -> Exception:
    if verdict in ("quota", "cap"):
        return _quota_exceeded(verdict == "cap", standing, units)
    if verdict == "fenced":
        return Unavailable("This server was given up while your call ran; nothing was charged; retry.")
    if verdict == "no_worker":
        return Unavailable("This server is registering anew; retry.")
    simple: dict[str, Callable[[], Exception]] = {
        "stale": Stale,
        "unknown": InvalidKey,
        "revoked": InvalidKey,
        "expired": KeyExpired,
        "suspended": KeySuspended,
        "account_suspended": AccountSuspended,
    }
    return simple[verdict]()


def _quota_exceeded(by_cap: bool, standing: QuotaStanding, units: int) -> QuotaExceeded:
    used = standing.cap_used if by_cap else standing.used + standing.reserved
    limit = standing.cap_units if by_cap else standing.included
    return QuotaExceeded(
        units=units,
        limit=limit or 0,
        used=used,
        reset_seconds=max(1, standing.reset_seconds),
        scope="key" if by_cap else "account",
        standing=standing,
    )
