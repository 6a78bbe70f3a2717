"""The decision: every window of a call passes, or the call is refused and takes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from api_factory.errors import CostLimitExceeded, RateLimited
from api_factory.limits.windows import (
    Demand,
    Reading,
    WindowStatus,
    delay_ms,
    seconds_up,
    status_of,
    units_used,
)


class Backend(Protocol):
    """Where counters live. Each method is one atomic step over all demands, whose keys are distinct."""

    async def take_many(self, demands: Sequence[Demand]) -> tuple[bool, list[Reading]]:
        """Take every demand or none; return whether they passed and each counter as it stands after."""

    async def peek_many(self, demands: Sequence[Demand]) -> list[Reading]:
        """Return each counter as it stands; nothing is taken."""


class Limits:
    """Rate limits over one backend; all windows of a call in one step, all or nothing.

    `divisor` is the number of workers that enforce the same limits without a shared backend: each
    then holds `limit // divisor`, at least 1. It may change at any time; the counters go on.
    """

    def __init__(self, backend: Backend, *, divisor: int = 1) -> None:
        """Enforce limits on `backend`. `ValueError` when the divisor is below 1."""
        self._backend = backend
        self._divisor = 1
        self.divisor = divisor

    @property
    def divisor(self) -> int:
        """The number of equal shares of which this process enforces one."""
        return self._divisor

    @divisor.setter
    def divisor(self, divisor: int) -> None:
        if divisor < 1:
            raise ValueError(f"Limits cannot be divided by {divisor}; the divisor is 1 or more.")
        self._divisor = divisor

    async def take(self, demands: Sequence[Demand]) -> tuple[WindowStatus, ...]:
        """Take all demands and return each window after; demands of one counter are added up first.

        Raises `RateLimited` with the earliest whole second at which the same call passes if nobody
        else calls, or `CostLimitExceeded` when it costs more than a limit ever holds. A refused call
        has taken nothing anywhere.
        """
        demands = self._effective(demands)
        for demand in demands:
            if demand.cost > demand.limit:
                raise CostLimitExceeded(cost=demand.cost, maximum=demand.limit, policy=demand.policy)
        passed, readings = await self._backend.take_many(demands)
        if not passed:
            raise _refusal(demands, readings)
        return tuple(map(status_of, demands, readings))

    async def check(self) -> str:
        """Return in words where the counters are. Raises `Unavailable` when they are away."""
        return "in the memory of each worker"

    async def close(self) -> None:
        """End what is open; memory needs no end."""

    async def peek(self, demands: Sequence[Demand]) -> tuple[WindowStatus, ...]:
        """Return each window as it stands; nothing is taken and costs are ignored."""
        demands = self._effective(demands)
        return tuple(map(status_of, demands, await self._backend.peek_many(demands)))

    def _effective(self, demands: Sequence[Demand]) -> Sequence[Demand]:
        demands = merged(demands)
        if self._divisor > 1:
            demands = [demand.divided(self._divisor) for demand in demands]
        return demands


def merged(demands: Sequence[Demand]) -> Sequence[Demand]:
    """Return the demands with those of one counter added up, under the strictest of their limits."""
    if len(demands) < 2 or len({demand.key for demand in demands}) == len(demands):
        return demands
    # One operation may call the same action twice; checked one by one, each would see the other's room.
    sums: dict[str, Demand] = {}
    for demand in demands:
        first = sums.get(demand.key)
        if first is not None:
            strictest = min(first, demand, key=lambda one: one.limit)
            demand = strictest.costing(first.cost + demand.cost)
        sums[demand.key] = demand
    return list(sums.values())


def _refusal(demands: Sequence[Demand], readings: Sequence[Reading]) -> RateLimited:
    waits = [
        delay_ms(reading, demand.window_ms, demand.limit - demand.cost)
        for demand, reading in zip(demands, readings, strict=True)
    ]
    longest = max(range(len(waits)), key=waits.__getitem__)
    demand, reading = demands[longest], readings[longest]
    return RateLimited(
        policy=demand.policy,
        limit=demand.limit,
        window_seconds=demand.rate.window_seconds,
        remaining=max(0, demand.limit - units_used(reading, demand.window_ms)),
        # A backend may have refused by a moment that has passed since; a retry is never "at once".
        retry_after_seconds=max(1, seconds_up(waits[longest])),
        statuses=tuple(map(status_of, demands, readings)),
    )
