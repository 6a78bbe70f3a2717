"""Counters in Redis or Valkey, shared by every worker that names the same one.

All checks that are asked for in one turn of the event loop travel together, as one write. While every lane
is busy the next checks queue up and go as one when a lane is free, so that a slow server meets fewer and
longer batches, over a bounded number of connections.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

from redis.exceptions import NoScriptError, ResponseError

from api_factory.errors import Unavailable
from api_factory.limits.scripts import ADD, PEEK, TAKE, Script
from api_factory.limits.windows import Demand, Reading
from api_factory.limits.wires import FAILURES, Command, Reply, Wire

LANES: Final = 4
"""Batches under way at a time, each on a connection of its own."""

BATCH_SIZE: Final = 256
PREFIX: Final = "af:limit:"
DECISION_SECONDS: Final = 0.4
"""The longest that a batch may take, connecting included; then the store counts as away."""

Answer = tuple[bool, list[Reading]]

_GENERATION = f"{PREFIX}{{generation}}"


class StoreUnavailable(Unavailable):
    """The store of the rate limits does not answer; retry."""

    @property
    def reason(self) -> str:
        """What went wrong, for operators."""
        cause = self.__cause__ or self
        return f"{type(cause).__name__}: {cause}".removesuffix(": ")


class _Check:
    """One call's step, and who waits for its answer."""

    __slots__ = ("answer", "argument", "names", "script")

    def __init__(self, script: Script, demands: Sequence[Demand], answer: asyncio.Future[Answer]) -> None:
        self.script = script
        self.names = [name_of(demand) for demand in demands]
        self.argument = " ".join([f"{one.limit} {one.window_ms} {one.cost}" for one in demands])
        self.answer = answer

    def by_sha(self) -> Command:
        return ("EVALSHA", self.script.sha, len(self.names), *self.names, self.argument)

    def by_text(self) -> Command:
        return ("EVAL", self.script.text, len(self.names), *self.names, self.argument)


class RedisBackend:
    """Takes and reads all windows of a call in one step on the server, by the server's clock alone.

    Every method raises `StoreUnavailable` when the server is away, refuses, or is silent for longer than the
    wire waits; then the step may have been done or not, and whoever goes on without it has to count anew.
    """

    def __init__(self, wire: Wire) -> None:
        """Reach the server by this wire; nothing is connected yet."""
        self._wire = wire
        self._waiting: list[_Check] = []
        self._lanes: set[asyncio.Task[None]] = set()
        self._is_called = False

    @property
    def connections(self) -> int:
        """How often the wire has connected."""
        return self._wire.connections

    async def take_many(self, demands: Sequence[Demand]) -> Answer:
        """Take every demand or none; return whether they passed and each counter as it stands after."""
        return await self._ask(TAKE, demands)

    async def peek_many(self, demands: Sequence[Demand]) -> list[Reading]:
        """Return each counter as it stands; nothing is taken."""
        return (await self._ask(PEEK, demands))[1]

    async def add_many(self, demands: Sequence[Demand]) -> list[Reading]:
        """Count every demand, whatever the limits; they must have one owner."""
        return (await self._ask(ADD, demands))[1]

    async def generation(self) -> str:
        """Write to the server, and return a name that it keeps for as long as it keeps its counters."""
        mark: list[Command] = [("SET", _GENERATION, secrets.token_hex(8), "NX"), ("GET", _GENERATION)]
        try:
            async with asyncio.timeout(DECISION_SECONDS):
                written, kept = await self._wire.exchange(mark)
        except FAILURES as failure:
            raise StoreUnavailable from failure
        if isinstance(written, ResponseError) or not isinstance(kept, bytes):
            raise StoreUnavailable from (written if isinstance(written, ResponseError) else None)
        return kept.decode()

    async def close(self) -> None:
        """Refuse what waits, let what is under way end, and end every connection."""
        self._refuse(self._take_waiting(), None)
        await asyncio.gather(*self._lanes)
        await self._wire.close()

    def _ask(self, script: Script, demands: Sequence[Demand]) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        if not demands:
            answer.set_result((True, []))
            return answer
        self._waiting.append(_Check(script, demands, answer))
        if not self._is_called:
            self._is_called = True
            loop.call_soon(self._send)
        return answer

    def _send(self) -> None:
        self._is_called = False
        while self._waiting and len(self._lanes) < LANES:
            batch, self._waiting = self._waiting[:BATCH_SIZE], self._waiting[BATCH_SIZE:]
            lane = asyncio.get_running_loop().create_task(self._carry(batch), name="limits")
            self._lanes.add(lane)
            lane.add_done_callback(self._free)

    def _free(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        if self._waiting and not self._is_called:
            self._send()

    async def _carry(self, batch: list[_Check]) -> None:
        try:
            async with asyncio.timeout(DECISION_SECONDS):
                replies = await self._exchange(batch)
        except FAILURES as failure:
            # Those that wait would wait as long for nothing.
            self._refuse(batch + self._take_waiting(), failure)
            return
        except BaseException:
            self._refuse(batch, None)
            raise
        for check, reply in zip(batch, replies, strict=True):
            if isinstance(reply, ResponseError):
                self._refuse([check], reply)
            elif not check.answer.done():
                check.answer.set_result(_read(reply or b""))

    async def _exchange(self, batch: list[_Check]) -> list[Reply]:
        replies = await self._wire.exchange([check.by_sha() for check in batch])
        # A server that does not know a script, for it has restarted or was told to forget, has run nothing.
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = await self._wire.exchange([batch[index].by_text() for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return replies

    def _take_waiting(self) -> list[_Check]:
        waiting, self._waiting = self._waiting, []
        return waiting

    @staticmethod
    def _refuse(checks: list[_Check], cause: BaseException | None) -> None:
        for check in checks:
            if not check.answer.done():
                refusal = StoreUnavailable()
                refusal.__cause__ = cause
                check.answer.set_exception(refusal)


def name_of(demand: Demand) -> str:
    """Return the name of a counter on the server; the braces keep an owner's counters on one of a cluster."""
    return f"{PREFIX}{{{demand.owner}}}:{demand.key}"


def _read(reply: bytes) -> Answer:
    numbers = list(map(int, reply.split()))
    return numbers[0] == 1, list(zip(numbers[1::3], numbers[2::3], numbers[3::3], strict=True))
