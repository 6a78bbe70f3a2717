"""Counters in the memory of one worker: a storage of the `limits` library that costs the same at any size.

The library's own memory storage walks every live key on every hit. This one looks up each counter once,
and forgets a few expired ones in passing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from limits.aio.storage.base import SlidingWindowCounterSupport, Storage

from api_factory.clock import Clock, SystemClock
from api_factory.limits.windows import UNTOUCHED, Demand, Reading, units_used
from api_factory.rates import Rate

SWEPT_PER_WINDOW = 4
"""Counters looked at for expiry for each window of a call: more than a call can add, so none pile up."""

_NEVER_MS = 2**62


class _Counter:
    """Two windows of one key.

    The millisecond of the first hit counts as passed, so the current window started just before it. When
    it has passed, the windows are read as if they had moved on; only what is counted moves them.
    """

    __slots__ = ("current", "demand", "key", "previous", "started_ms", "window_ms")

    def __init__(self, key: str, window_ms: int, started_ms: int, demand: Demand | None) -> None:
        self.key = key
        self.window_ms = window_ms
        self.demand = demand
        self.started_ms = started_ms
        self.previous = 0
        self.current = 0

    def add(self, units: int, now_ms: int) -> None:
        """Count units in the window of this millisecond."""
        if now_ms - self.started_ms > self.window_ms:
            self.started_ms += self.window_ms
            self.previous, self.current = self.current, 0
        self.current += units


class WindowStorage(Storage, SlidingWindowCounterSupport):
    """Keeps counters in this process; one step takes or refuses all windows of a call.

    Every step runs without awaiting, so no other task of the same event loop can come between. Use it
    from one thread. A hit costs one dictionary lookup for each window whatever the number of keys, and
    looks at no more than `SWEPT_PER_WINDOW` expired counters for each.
    """

    STORAGE_SCHEME = ["async+window"]  # noqa: RUF012 - the library's class attribute

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        clock: Clock | None = None,
        **options: float | str | bool,
    ) -> None:
        """Start empty; `uri` and the options are what the library passes to every storage."""
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._clock: Clock = clock or SystemClock()
        self._monotonic = self._clock.monotonic
        self._counters: dict[str, _Counter] = {}
        # One queue for each length of window: within one, counters come up for a check in order.
        self._queues: dict[int, deque[tuple[int, _Counter]]] = {}
        self._next_check_ms = _NEVER_MS

    def __len__(self) -> int:
        """Return the number of counters held, expired ones that were not swept yet included."""
        return len(self._counters)

    async def take_many(self, demands: Sequence[Demand]) -> tuple[bool, list[Reading]]:
        """Take every demand or, when one does not pass, none; never waits.

        Returns whether they passed, and each counter as it stands after. Keys must be distinct.
        """
        return self._take(demands)

    async def peek_many(self, demands: Sequence[Demand]) -> list[Reading]:
        """Return each counter as it stands, taking nothing; never waits."""
        now_ms = self._now_ms()
        return [_read(self._live(demand.key, now_ms), now_ms) for demand in demands]

    def _take(self, demands: Sequence[Demand]) -> tuple[bool, list[Reading]]:
        now_ms = self._now_ms()
        if now_ms >= self._next_check_ms:
            self._sweep(now_ms, SWEPT_PER_WINDOW * len(demands))
        found = [(demand, self._live(demand.key, now_ms)) for demand in demands]
        for demand, counter in found:
            used = _used(counter, now_ms) if counter else 0
            if used + demand.cost > demand.limit:
                return False, [_read(counter, now_ms) for _, counter in found]
        readings: list[Reading] = []
        for demand, counter in found:
            if counter is None:
                counter = self._start(demand.key, demand.window_ms, now_ms, demand)
            counter.add(demand.cost, now_ms)
            readings.append((counter.previous, counter.current, now_ms - counter.started_ms))
        return True, readings

    def record(self, demands: Iterable[Demand]) -> None:
        """Count what was granted elsewhere, whatever the limits."""
        now_ms = self._now_ms()
        for demand in demands:
            if now_ms >= self._next_check_ms:
                self._sweep(now_ms, SWEPT_PER_WINDOW)
            key = demand.key
            counter = self._live(key, now_ms) or self._start(key, demand.window_ms, now_ms, demand)
            counter.add(demand.cost, now_ms)

    def used(self) -> list[Demand]:
        """Return, for each counter that still counts, a demand that costs all that is used of it."""
        now_ms = self._now_ms()
        live = [self._live(key, now_ms) for key in list(self._counters)]
        used = [(counter.demand, _used(counter, now_ms)) for counter in live if counter]
        return [demand.costing(units) for demand, units in used if demand and units]

    def _live(self, key: str, now_ms: int) -> _Counter | None:
        counter = self._counters.get(key)
        if counter is None or now_ms - counter.started_ms < 2 * counter.window_ms:
            return counter
        del self._counters[key]
        return None

    def _start(self, key: str, window_ms: int, now_ms: int, demand: Demand | None = None) -> _Counter:
        counter = self._counters[key] = _Counter(key, window_ms, now_ms - 1, demand)
        self._enqueue(counter)
        return counter

    def _enqueue(self, counter: _Counter) -> None:
        check_ms = counter.started_ms + 2 * counter.window_ms
        queue = self._queues.get(counter.window_ms)
        if queue is None:
            queue = self._queues[counter.window_ms] = deque()
        queue.append((check_ms, counter))
        self._next_check_ms = min(self._next_check_ms, check_ms)

    def _sweep(self, now_ms: int, budget: int) -> None:
        for window_ms, queue in list(self._queues.items()):
            while queue and budget and queue[0][0] <= now_ms:
                budget -= 1
                self._check(queue.popleft()[1], now_ms)
            if not queue:
                del self._queues[window_ms]
        self._next_check_ms = min((queue[0][0] for queue in self._queues.values()), default=_NEVER_MS)

    def _check(self, counter: _Counter, now_ms: int) -> None:
        if self._counters.get(counter.key) is not counter:
            return
        if now_ms - counter.started_ms >= 2 * counter.window_ms:
            del self._counters[counter.key]
        else:
            self._enqueue(counter)

    def _now_ms(self) -> int:
        # Rounded, not cut: 1.001 s is 1000.999… ms in binary.
        return int(self._monotonic() * 1000.0 + 0.5)

    # What follows is the library's interface, so that its strategies run on this storage.

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """Return what the storage may raise: nothing of its own."""
        return ValueError

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take `amount` units of a window of `expiry` seconds if they pass; a refusal takes nothing."""
        return amount <= limit and self._take((_demand(key, limit, expiry, amount),))[0]

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return previous count, its seconds to live, current count, its seconds to live."""
        demand, now_ms = _demand(key, 1, expiry, 0), self._now_ms()
        previous, current, elapsed_ms = _read(self._live(demand.key, now_ms), now_ms)
        left_seconds = (demand.window_ms - elapsed_ms) / 1000
        return previous, left_seconds if previous else 0.0, current, left_seconds + expiry

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a key's sliding window."""
        self._counters.pop(_demand(key, 1, expiry, 0).key, None)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a fixed window of `expiry` seconds that begins at its first hit; return its count."""
        now_ms = self._now_ms()
        counter = self._fixed(key, now_ms) or self._start(key, expiry * 1000, now_ms)
        counter.current += amount
        return counter.current

    async def get(self, key: str) -> int:
        """Return the count of a fixed window, 0 when it has ended."""
        counter = self._fixed(key, self._now_ms())
        return counter.current if counter else 0

    async def get_expiry(self, key: str) -> float:
        """Return the moment a fixed window ends, in seconds since the epoch; now when there is none."""
        now_ms = self._now_ms()
        counter = self._fixed(key, now_ms)
        left_ms = counter.started_ms + 1 + counter.window_ms - now_ms if counter else 0
        return self._clock.now().timestamp() + left_ms / 1000

    async def check(self) -> bool:
        """Return that the storage works; memory always does."""
        return True

    async def reset(self) -> int | None:
        """Forget everything; return how many counters there were."""
        count = len(self._counters)
        self._counters.clear()
        self._queues.clear()
        self._next_check_ms = _NEVER_MS
        return count

    async def clear(self, key: str) -> None:
        """Forget a fixed window."""
        self._counters.pop(key, None)

    def _fixed(self, key: str, now_ms: int) -> _Counter | None:
        counter = self._counters.get(key)
        if counter is None or now_ms - counter.started_ms <= counter.window_ms:
            return counter
        del self._counters[key]
        return None


def _used(counter: _Counter, now_ms: int) -> int:
    if not counter.previous and now_ms - counter.started_ms <= counter.window_ms:
        return counter.current
    return units_used(_read(counter, now_ms), counter.window_ms)


def _read(counter: _Counter | None, now_ms: int) -> Reading:
    if counter is None:
        return UNTOUCHED
    elapsed_ms = now_ms - counter.started_ms
    if elapsed_ms > counter.window_ms:
        return counter.current, 0, elapsed_ms - counter.window_ms
    return counter.previous, counter.current, elapsed_ms


def _demand(key: str, limit: int, window_seconds: int, cost: int) -> Demand:
    return Demand(Rate(limit, window_seconds, ""), "", key, cost)
