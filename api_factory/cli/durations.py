"""Durations on the command line: `90s`, `15m`, `12h`, `30d`."""

from __future__ import annotations

import re
from datetime import timedelta

import click

LONGEST = timedelta(days=36_500)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"([0-9]{1,10})([smhd])")


def duration(text: str) -> timedelta:
    """Return the time that the text stands for, from 1 second to 100 years.

    Raises:
        click.BadParameter: It is none; the sentence shows how to write one.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise click.BadParameter(
            f"{text!r} is no duration; write a whole number and s, m, h or d, such as 30d."
        )
    try:
        length = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        length = timedelta.max
    if not timedelta(0) < length <= LONGEST:
        raise click.BadParameter(f"{text!r} is out of range; give from 1s to {LONGEST.days}d.")
    return length
