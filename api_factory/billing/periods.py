"""The moment that an account's monthly periods are counted from, so that they are Stripe's own."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime


def period_anchor(cycle_anchor: datetime | None, period_start: datetime) -> datetime:
    """Return what to count months from so that one of them begins at `period_start`.

    Stripe counts from the subscription's anchor: one of the 31st renews on the last day of a shorter month
    and on the 31st again after it. Counted from a short month's day the periods would drift apart from
    Stripe's, and a period of a few days would open a quota of its own. Where the anchor does not lead to
    the period, as in a trial, the period's start is what is counted from.
    """
    if cycle_anchor is not None and month_start(cycle_anchor, period_start) == period_start:
        return cycle_anchor
    return period_start


def month_start(anchor: datetime, moment: datetime) -> datetime:
    """Return the start of the month, counted from the anchor, that the moment is in: `af_period` of SQL."""
    anchor, moment = anchor.astimezone(UTC), moment.astimezone(UTC)
    months = (moment.year - anchor.year) * 12 + moment.month - anchor.month
    start = _months_later(anchor, months)
    return start if start <= moment else _months_later(anchor, months - 1)


def _months_later(anchor: datetime, months: int) -> datetime:
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, last_day))
