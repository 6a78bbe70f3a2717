"""How values travel, the same on every face: what text is read as which type, and how a value is written.

Moments, days and times have the forms of RFC 3339, a moment always with its zone; a UUID that of RFC 9562.
What is read raises `ValueError` with the sentence for whoever sent it.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
"""The bounds of an `int` that travels by itself: those of GraphQL's Int (specification section 3.5.1)."""

DECIMAL_PATTERN: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$"
DECIMAL_LENGTH_MAX: Final = 60
_EXPONENT_MAX: Final = 30

_JSON_INT_MIN: Final = -(2**63)
_JSON_INT_MAX: Final = 2**64 - 1
_JSON_DEPTH_MAX: Final = 200

_DAY = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_CLOCK = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?"
_ZONE = r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
_MOMENT: Final = re.compile(f"{_DAY}[Tt]{_CLOCK}{_ZONE}", re.ASCII)
_DATE: Final = re.compile(_DAY, re.ASCII)
_TIME: Final = re.compile(f"{_CLOCK}{_ZONE}?", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_DECIMAL: Final = re.compile(DECIMAL_PATTERN, re.ASCII)


def read_moment(text: object) -> datetime:
    """Read RFC 3339's `date-time`, in UTC; a moment without a zone is none, nor one that UTC cannot say."""
    if isinstance(text, str) and _MOMENT.fullmatch(text):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    raise ValueError('Write a moment with its zone, like "2026-01-31T12:00:00Z".')


def read_date(text: object) -> date:
    """Read RFC 3339's `full-date`."""
    if isinstance(text, str) and _DATE.fullmatch(text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    raise ValueError('Write a day like "2026-01-31".')


def read_time(text: object) -> time:
    """Read RFC 3339's `partial-time`, with or without an offset."""
    if isinstance(text, str) and _TIME.fullmatch(text):
        return time.fromisoformat(text.upper())
    raise ValueError('Write a time like "12:30:00" or "12:30:00Z".')


def read_uuid(text: object) -> UUID:
    """Read the one form with hyphens; capitals are the same."""
    if isinstance(text, str) and _UUID.fullmatch(text):
        return UUID(text)
    raise ValueError('Write a UUID like "01890a5d-ac96-774b-bcce-b302099a8057".')


def read_decimal(value: object) -> Decimal:
    """Read a decimal number from a string or a whole number, digit by digit.

    A float has lost digits before anybody could read it, so it is refused; so is what a short text would
    blow up to millions of digits.
    """
    if isinstance(value, float):
        raise ValueError('A JSON number with a fraction loses digits; send it as a string, like "12.50".')
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**DECIMAL_LENGTH_MAX:
        return Decimal(value)
    if isinstance(value, str) and len(value) <= DECIMAL_LENGTH_MAX and _DECIMAL.fullmatch(value):
        exponent = re.split("[eE]", value)[1:]
        if not exponent or abs(int(exponent[0])) <= _EXPONENT_MAX:
            return Decimal(value)
    raise ValueError(
        f'Write a decimal number like "12.50", of at most {DECIMAL_LENGTH_MAX} characters '
        f"and with an exponent from -{_EXPONENT_MAX} to {_EXPONENT_MAX}."
    )


def write_moment(moment: datetime) -> str:
    """Write a moment as RFC 3339 has it; one without a zone is taken to be UTC."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).isoformat()


def write_date(day: date) -> str:
    """Write a day; a moment is the day it has in its own zone."""
    return (day.date() if isinstance(day, datetime) else day).isoformat()


def is_text(text: str) -> bool:
    """Say whether a string can be written in UTF-8: one with a lone surrogate cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_json(value: object) -> Any:
    """Return free JSON in JSON's own types; a Decimal, UUID, moment, day or time is a string in it.

    An Enum is the name of its member and a tuple a list. Raises `ValueError` for what JSON cannot say on
    every face: another type, NaN and infinity, a whole number beyond 64 bits, text that is no UTF-8, a key
    that is no string, more than 200 levels.
    """
    return _plain(value, _JSON_DEPTH_MAX)


def _plain(value: object, levels: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, dict):
        return {_key(key): _plain(item, _below(levels)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, _below(levels)) for item in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (int, float)):
        return _number(value)
    return _written(value)


def _below(levels: int) -> int:
    if levels <= 0:
        raise ValueError(f"It is nested deeper than {_JSON_DEPTH_MAX} levels.")
    return levels - 1


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"A key of type {type(key).__name__} is no string.")
    return _text(key)


def _text(text: str) -> str:
    if not is_text(text):
        raise ValueError("A text in it is not valid Unicode.")
    return str.__str__(text)


def _number(value: float) -> float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("A number in it is not finite.")
        return float(value)
    if not _JSON_INT_MIN <= value <= _JSON_INT_MAX:
        raise ValueError("A whole number in it is beyond 64 bits; make it a string.")
    return int(value)


def _written(value: object) -> str:
    if isinstance(value, datetime):
        return write_moment(value)
    if isinstance(value, date):
        return write_date(value)
    if isinstance(value, time):
        return value.isoformat()
    if isinstance(value, UUID) or (isinstance(value, Decimal) and value.is_finite()):
        return str(value)
    raise ValueError(f"A value of type {type(value).__name__} in it is no JSON.")
