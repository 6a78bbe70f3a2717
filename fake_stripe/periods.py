"""Calendar arithmetic of billing periods (https://docs.stripe.com/billing/subscriptions/billing-cycle)."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

from fake_stripe.world import DAY_SECONDS, Resource

_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}


def step(anchor: int, recurring: Resource, count: int) -> int:
    """Return the moment `count` intervals after the anchor; the day is cut to what the month has."""
    interval, many = recurring["interval"], int(recurring["interval_count"]) * count
    if interval in _DAYS:
        return anchor + many * _DAYS[interval] * DAY_SECONDS
    start = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + many * _MONTHS[interval], 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def end_after(anchor: int, moment: int, recurring: Resource) -> int:
    """Return the first boundary after a moment, counted from the anchor.

    Counting from the anchor keeps the 31st: January 31, February 28, March 31.
    """
    count = 1
    while step(anchor, recurring, count) <= moment:
        count += 1
    return anchor if moment < anchor else step(anchor, recurring, count)
