"""The arithmetic of the sliding window counter, in whole milliseconds, the same for every backend.

A counter keeps two windows. What a key has used is what it took in the current window plus what it took
in the previous one, weighted by the share of the current window that is still to come, rounded down. That
is the rule of the `limits` library on Redis; here a millisecond counts as passed once it has begun, so
that the whole limit spent at one instant begins to free when the window ends and not a second later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from api_factory.rates import Rate

Reading = tuple[int, int, int]
"""What a backend knows of a counter: units in the previous window, units in the current one, and the
milliseconds of the current window that have begun (from 1 to the length of the window)."""

UNTOUCHED: Reading = (0, 0, 1)


@dataclass(frozen=True, slots=True)
class Demand:
    """One limit that one call must pass; build it once for each key and cost, and use it again.

    `subject` says whose counter it is (`account:…`, `key:…:action`), `policy` is the name that the
    RateLimit headers show. A changed limit keeps counting where the old one stood: the counter's
    identity is subject, policy and length of the window. `owner` is whom all counters of the call belong
    to, the subject unless named: a store of many servers keeps an owner's counters on one of them.
    `ValueError` when the cost is negative.
    """

    rate: Rate
    policy: str
    subject: str
    cost: int = 1
    owner: str = ""
    key: str = field(init=False, repr=False, compare=False)
    limit: int = field(init=False, repr=False, compare=False)
    window_ms: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Precompute what every call needs: the counter's name, and the rate in the backend's units."""
        if self.cost < 0:
            raise ValueError(f"A call cannot cost {self.cost}; a cost is 0 or more.")
        window_seconds = self.rate.window_seconds
        object.__setattr__(self, "owner", self.owner or self.subject)
        object.__setattr__(self, "key", f"{self.subject}/{self.policy}/{window_seconds}")
        object.__setattr__(self, "limit", self.rate.limit)
        object.__setattr__(self, "window_ms", window_seconds * 1000)

    def costing(self, cost: int) -> Demand:
        """Return the same demand at another cost."""
        return Demand(self.rate, self.policy, self.subject, cost, self.owner)

    def divided(self, divisor: int) -> Demand:
        """Return the same demand under an equal share of its limit, which is never less than 1."""
        share = max(1, self.limit // divisor)
        rate = Rate(share, self.rate.window_seconds, self.rate.name)
        return Demand(rate, self.policy, self.subject, self.cost, self.owner)


class WindowStatus(NamedTuple):
    """Where one window stands; a tuple, because every call makes one for each of its windows.

    `reset_seconds` is 0 while nothing is used, otherwise the whole seconds until at least one more unit
    is free if nobody calls in between: at least 1, and at most the window unless the limit was lowered.
    """

    policy: str
    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: int


def units_used(reading: Reading, window_ms: int) -> int:
    """Return the units that count against the limit now."""
    previous, current, elapsed_ms = reading
    return previous * (window_ms - elapsed_ms) // window_ms + current


def delay_ms(reading: Reading, window_ms: int, target: int) -> int:
    """Return the milliseconds until no more than `target` units are used if nobody calls; 0 when so now.

    Exact: one millisecond earlier the use is still above `target`. `target` must not be negative.
    """
    if units_used(reading, window_ms) <= target:
        return 0
    return _fading_ms(reading, window_ms, target)


def status_of(demand: Demand, reading: Reading) -> WindowStatus:
    """Return what the caller is told about one window."""
    previous, current, elapsed_ms = reading
    limit, window_ms = demand.limit, demand.window_ms
    # units_used() written out: this runs for each window of each call.
    used = previous * (window_ms - elapsed_ms) // window_ms + current if previous else current
    remaining = limit - used if used < limit else 0
    reset_seconds = -(-_fading_ms(reading, window_ms, limit - remaining - 1) // 1000) if used else 0
    return WindowStatus(demand.policy, limit, demand.rate.window_seconds, remaining, reset_seconds)


def seconds_up(milliseconds: int) -> int:
    """Return whole seconds, rounded up."""
    return -(-milliseconds // 1000)


def _fading_ms(reading: Reading, window_ms: int, target: int) -> int:
    """Return the milliseconds until use falls to `target`, which it is above now.

    `count * (window_ms - e) // window_ms <= target` holds first at
    `e = window_ms - ((target + 1) * window_ms - 1) // count`.
    """
    previous, current, elapsed_ms = reading
    if target >= current:
        # The previous window fades within this one.
        return window_ms - ((target - current + 1) * window_ms - 1) // previous - elapsed_ms
    # This window must end first, and then fade in its turn.
    return 2 * window_ms - elapsed_ms - ((target + 1) * window_ms - 1) // current
