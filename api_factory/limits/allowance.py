"""One rate for each of very many callers, in memory that has a bound: the generic cell rate algorithm.

Of each caller it keeps one number, the moment at which his whole allowance is back. A call moves it on by
the time one call takes to come back, and passes as long as it is not further away than one window: the
limit at once, and then one for each share of the window (ITU-T I.371, the virtual scheduling algorithm).
What is taken can be given back, which a window counter cannot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from api_factory.limits.windows import WindowStatus
from api_factory.rates import Rate

MAX_CALLERS: Final = 20_000
_MICROSECONDS: Final = 1_000_000


class Allowances:
    """What each caller may still take; the callers seen longest ago are forgotten first.

    A forgotten caller has his whole allowance again, so whoever makes this forget needs `max_callers` names,
    with which he had that many allowances anyway. Use it from one thread; nothing here waits.
    """

    def __init__(
        self,
        rate: Rate,
        policy: str,
        monotonic: Callable[[], float],
        *,
        max_callers: int = MAX_CALLERS,
    ) -> None:
        """Give everybody one rate, called `policy` in the headers; `monotonic` tells the time in seconds."""
        self._rate = rate
        self._policy = policy
        self._monotonic = monotonic
        self._max_callers = max_callers
        self._window_us = rate.window_seconds * _MICROSECONDS
        self._each_us = max(1, self._window_us // rate.limit)
        self._whole_at: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        """Count the callers remembered."""
        return len(self._whole_at)

    def delay_seconds(self, caller: str) -> int:
        """Return in how many whole seconds, rounded up, the caller may take one; 0 when he may now."""
        over_us = self._taken_us(caller) + self._each_us - self._window_us
        return max(0, -(-over_us // _MICROSECONDS))

    def take(self, caller: str) -> None:
        """Take one, whether there is one or not; ask for the delay first."""
        now = self._now()
        self._whole_at[caller] = max(now, self._whole_at.get(caller, 0)) + self._each_us
        self._whole_at.move_to_end(caller)
        while len(self._whole_at) > self._max_callers:
            self._whole_at.popitem(last=False)

    def give_back(self, caller: str) -> None:
        """Undo one `take`; nobody gets more than his whole allowance by it."""
        if self._taken_us(caller) <= self._each_us:
            self._whole_at.pop(caller, None)
        else:
            self._whole_at[caller] -= self._each_us

    def status(self, caller: str) -> WindowStatus:
        """Return what the caller is told: what remains, and the seconds until at least one more is free."""
        taken_us = self._taken_us(caller)
        remaining = max(0, self._window_us - taken_us) // self._each_us
        back_us = taken_us % self._each_us or min(taken_us, self._each_us)
        reset_seconds = max(self.delay_seconds(caller), -(-back_us // _MICROSECONDS))
        limit = self._rate.limit
        return WindowStatus(
            self._policy, limit, self._rate.window_seconds, min(limit, remaining), reset_seconds
        )

    def _taken_us(self, caller: str) -> int:
        return max(0, self._whole_at.get(caller, 0) - self._now())

    def _now(self) -> int:
        return int(self._monotonic() * _MICROSECONDS)
