"""Limits in a store that all workers share and, while it is away, in equal parts in their memories.

A worker that cannot reach the store goes on alone: it enforces `limit // live workers` by counters of its
own. It never waits for the store again before a probe in the background, one a second, has written to it.

No allowance is won by an outage, however often it comes and goes:

- Each worker also counts in memory what it granted through the store. When it goes on alone, what it has
  granted in the present window is already taken off its part. So over a window that an outage begins in,
  all workers together grant at most what the store had granted and, each, what is left of its part: no more
  than the limit where calls were spread evenly, and never more than twice the limit.
- What was granted alone is added to the store's counters when it is back, and until every other worker has
  had the time to do the same a call has to pass both, the own part and the store. So the end of an outage
  grants nothing beyond the limit.
- A store that has lost its memory is told by every worker all that it has granted in the present windows.
  A store knows itself by a name that it loses with the rest. What is granted over a new connection counts
  only after the name was the same; `check` notices when nobody calls. (A client of a cluster connects again
  without telling, so there only `check` does.)

A worker that is cut off from a store which the others still reach adds its part to what they grant.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from api_factory.clock import Clock
from api_factory.errors import CostLimitExceeded, Unavailable
from api_factory.limits.memory import WindowStorage
from api_factory.limits.redis import StoreUnavailable
from api_factory.limits.service import Backend, Limits, merged
from api_factory.limits.windows import Demand, Reading, WindowStatus

LOGGER = logging.getLogger("api_factory.limits")

PROBE_SECONDS: Final = 1.0
HANDOVER_SECONDS: Final = 2.5
"""How long a call must pass both counts: the others see within a probe's interval that the store is back."""

REPORTED_AT_ONCE: Final = 200
RETRY_SECONDS: Final = 5

State = Literal["shared", "alone", "returning"]


class SharedBackend(Backend, Protocol):
    """A backend of all workers. Every method raises `StoreUnavailable` when it is away."""

    @property
    def connections(self) -> int:
        """How often it has connected."""

    async def add_many(self, demands: Sequence[Demand]) -> list[Reading]:
        """Count every demand, whatever the limits; they have one owner."""

    async def generation(self) -> str:
        """Write to the store, and return a name that it keeps for as long as it keeps its counters."""

    async def close(self) -> None:
        """End every connection."""


class FailoverLimits(Limits):
    """Enforces limits by a shared store; in an outage, this worker's part of them in its own memory.

    `divisor` is the number of live workers, among whom the limits are divided in an outage. It never raises
    `StoreUnavailable`, and no call passes unchecked.
    """

    def __init__(
        self,
        shared: SharedBackend,
        *,
        clock: Clock | None = None,
        divisor: int = 1,
        observe: Callable[[bool], None] = lambda is_alone: None,
    ) -> None:
        """Begin with the store; `observe` hears when this worker goes on alone and when no longer."""
        own = self._own = WindowStorage(clock=clock)
        super().__init__(own, divisor=divisor)
        self._clock = clock
        self._store = shared
        self._shared = Limits(shared)
        self._observe = observe
        self._state: State = "shared"
        self._granted_alone = WindowStorage(clock=clock)
        self._generation: str | None = None
        self._known_connections = 0
        self._return: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """By which counters calls are decided: the store's, this worker's own, or both."""
        return self._state

    async def take(self, demands: Sequence[Demand]) -> tuple[WindowStatus, ...]:
        """Take all demands and return each window after; see `Limits.take`."""
        if self._state == "shared":
            with contextlib.suppress(StoreUnavailable):
                statuses = await self._take_shared(demands)
                self._own.record(demands)
                return statuses
        alone = await self._take_part(demands)
        if self._state == "returning":
            # What the store refuses stays counted in this worker's part: for seconds, and to the safe side.
            with contextlib.suppress(StoreUnavailable):
                return await self._take_shared(demands)
        self._granted_alone.record(demands)
        return alone

    async def peek(self, demands: Sequence[Demand]) -> tuple[WindowStatus, ...]:
        """Return each window as it stands; nothing is taken and costs are ignored."""
        if self._state != "alone":
            try:
                return await self._shared.peek(demands)
            except StoreUnavailable as error:
                self._go_alone(error)
        return await super().peek(demands)

    async def check(self) -> str:
        """Return in words that the store takes part. Raises `StoreUnavailable` when it does not."""
        if self._state == "shared":
            try:
                await self._require_memory()
            except StoreUnavailable as error:
                self._go_alone(error)
        if self._state != "shared":
            raise StoreUnavailable(f"is away; each worker enforces 1/{self.divisor} of every limit")
        return "counts for all workers"

    async def close(self) -> None:
        """End the probes and every connection."""
        task, self._return = self._return, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._store.close()

    async def _require_memory(self) -> None:
        connections = self._store.connections
        generation = await self._store.generation()
        self._generation = self._generation or generation
        if generation != self._generation:
            raise StoreUnavailable("it has forgotten what it had counted")
        self._known_connections = max(self._known_connections, connections)

    async def _take_shared(self, demands: Sequence[Demand]) -> tuple[WindowStatus, ...]:
        try:
            if self._generation is None:
                await self._require_memory()
            statuses = await self._shared.take(demands)
            if self._store.connections > self._known_connections:
                await self._require_memory()
            return statuses
        except StoreUnavailable as error:
            self._go_alone(error)
            raise

    async def _take_part(self, demands: Sequence[Demand]) -> tuple[WindowStatus, ...]:
        try:
            return await super().take(demands)
        except CostLimitExceeded as error:
            if any(one.cost > one.limit for one in merged(demands)):
                raise
            # It fits the limit and not a part of it: the caller has made no mistake.
            raise Unavailable(
                f"The limits are enforced in parts for the moment, and this call costs more than a part "
                f"({error.extensions['maximum']}); split it, or retry later.",
                retry_after_seconds=RETRY_SECONDS,
            ) from error

    def _go_alone(self, error: StoreUnavailable) -> None:
        was, self._state = self._state, "alone"
        if was == "alone":
            return
        if self._return is None:
            self._observe(True)
            LOGGER.warning(
                "the store of the rate limits is away (%s); this worker enforces 1/%d of every limit alone",
                error.reason,
                self.divisor,
            )
            self._return = asyncio.get_running_loop().create_task(self._come_back(), name="limits: return")

    async def _come_back(self) -> None:
        while self._state != "shared":
            await asyncio.sleep(PROBE_SECONDS)
            with contextlib.suppress(StoreUnavailable):
                await self._hand_over(await self._store.generation())
        self._return = None
        self._observe(False)
        LOGGER.warning("the store of the rate limits is back, and counts for all workers again")

    async def _hand_over(self, generation: str) -> None:
        """Report to the store, wait for the others to do so, and trust it alone if it stayed."""
        granted, self._granted_alone = self._granted_alone, WindowStorage(clock=self._clock)
        if generation != self._generation:
            granted, self._generation = self._own, generation
        self._state = "returning"
        try:
            await self._report(granted.used())
        except StoreUnavailable:
            self._state = "alone"
            raise
        await asyncio.sleep(HANDOVER_SECONDS)
        if self._state == "returning":
            self._state = "shared"

    async def _report(self, used: list[Demand]) -> None:
        """Add to the store's counters what was granted; what fails is kept for the next time."""
        while used:
            batch = used[:REPORTED_AT_ONCE]
            outcomes = await asyncio.gather(
                *(self._store.add_many([demand]) for demand in batch), return_exceptions=True
            )
            answered = [isinstance(outcome, list) for outcome in outcomes]
            used = [one for one, is_in in zip(batch, answered, strict=True) if not is_in] + used[len(batch) :]
            if not all(answered):
                self._granted_alone.record(used)
                raise StoreUnavailable
