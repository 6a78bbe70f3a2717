"""Rate limits as authors and operators write them: `10/second;600/minute`.

The grammar is that of the `limits` library. What is read here is exact and canonical: one limit a window,
the shortest window first, and a name for each window that the RateLimit headers carry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from limits import RateLimitItem, parse_many
from limits.limits import GRANULARITIES

_WINDOWS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_UNITS = {name: seconds for name, seconds in _WINDOWS}
_LIMIT_MAX = 2**31 - 1
_WINDOW_SECONDS_MAX = 366 * 86_400
_EMPTY_WINDOW = re.compile(r"(/|per)\s*0+\s*[a-z]", re.IGNORECASE)
_EXAMPLE = 'write it as "10/second;600/minute" or "100 per 5 minute"'


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` calls in `window_seconds`; `name` is what the RateLimit headers call the window."""

    limit: int
    window_seconds: int
    name: str

    @property
    def item(self) -> RateLimitItem:
        """The same limit for the storages of the `limits` library; one object for equal rates."""
        return _item(self.limit, self.window_seconds)

    def __str__(self) -> str:
        """Write the rate in the grammar that `parse_rates` reads."""
        unit, seconds = _largest_unit(self.window_seconds)
        multiple = self.window_seconds // seconds
        return f"{self.limit}/{unit}" if multiple == 1 else f"{self.limit} per {multiple} {unit}"


def parse_rates(text: str) -> tuple[Rate, ...]:
    """Read rates, the shortest window first; `ValueError` says what is wrong and how to write it."""
    rates = sorted((_rate(item, text) for item in _items(text)), key=lambda rate: rate.window_seconds)
    for shorter, longer in pairwise(rates):
        if shorter.window_seconds == longer.window_seconds:
            raise ValueError(f"{text!r} limits the window of {shorter.window_seconds} s twice; keep one.")
    return tuple(rates)


def format_rates(rates: Iterable[Rate]) -> str:
    """Write rates so that `parse_rates` reads the same ones back."""
    return ";".join(str(rate) for rate in rates)


def window_name(window_seconds: int) -> str:
    """Name a window: second, minute, hour, day, or its length such as `90s`."""
    return next((name for name, seconds in _WINDOWS if seconds == window_seconds), f"{window_seconds}s")


def _items(text: str) -> list[RateLimitItem]:
    # isascii: the library's pattern takes any Unicode digit, and int() would read it.
    if not text.strip():
        raise ValueError(f"The rate is empty; {_EXAMPLE}.")
    # The library reads a window of no time as one of one unit.
    if not text.isascii() or _EMPTY_WINDOW.search(text):
        raise ValueError(f"{text!r} is not a rate; {_EXAMPLE}.")
    try:
        return parse_many(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a rate; {_EXAMPLE}.") from None


def _rate(item: RateLimitItem, text: str) -> Rate:
    window_seconds = item.get_expiry()
    if not 1 <= item.amount <= _LIMIT_MAX:
        raise ValueError(f"{text!r} allows {item.amount} calls; a limit is from 1 to {_LIMIT_MAX}.")
    if window_seconds > _WINDOW_SECONDS_MAX:
        raise ValueError(f"{text!r} has a window of {window_seconds} s; the longest is 366 days.")
    return Rate(item.amount, window_seconds, window_name(window_seconds))


def _largest_unit(window_seconds: int) -> tuple[str, int]:
    return next((name, seconds) for name, seconds in _WINDOWS if window_seconds % seconds == 0)


@cache
def _item(limit: int, window_seconds: int) -> RateLimitItem:
    unit, seconds = _largest_unit(window_seconds)
    return GRANULARITIES[unit](limit, window_seconds // seconds)
