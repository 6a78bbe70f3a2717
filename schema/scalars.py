"""The scalars beyond GraphQL's own five: what they accept, and how they are written on the wire.

A value that cannot be written is an error of its field, never of the whole reply.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NewType, TypeVar
from uuid import UUID

import orjson
from graphql import GraphQLError, GraphQLScalarType
from strawberry.types.scalar import ScalarDefinition

BigInt = NewType("BigInt", int)
"""A count that may pass 2^31: a number on the wire, at most 64 bits."""

Json = NewType("Json", object)
"""Free JSON."""

_BIG_MAX = 2**63 - 1
_JSON_OPTIONS = orjson.OPT_NON_STR_KEYS

_T = TypeVar("_T")


def _from_text(name: str, example: str, parse: Callable[[str], _T]) -> Callable[[object], _T]:
    def coerce(value: object) -> _T:
        try:
            return parse(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, AttributeError):
            raise GraphQLError(f"{name} cannot represent this value; write it like {example}.") from None

    return coerce


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _writer(name: str, kind: type, write: Callable[[Any], str]) -> Callable[[object], str]:
    def coerce(value: object) -> str:
        if not isinstance(value, kind):
            raise GraphQLError(f"{name} cannot represent a value of type {type(value).__name__}.")
        return write(value)

    return coerce


def _write_date(day: date) -> str:
    return (day.date() if isinstance(day, datetime) else day).isoformat()


def _read_decimal(value: object) -> Decimal:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = Decimal(str(value))
        except (InvalidOperation, ValueError):
            number = Decimal("NaN")
        if number.is_finite():
            return number
    raise GraphQLError('Decimal cannot represent this value; write it like "12.50".')


def _read_big_int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _BIG_MAX:
        return value
    raise GraphQLError("BigInt cannot represent this value; write a whole number of at most 64 bits.")


def _write_json(value: object) -> object:
    # Written here and copied into the reply as it is: the value is walked once, and what cannot be
    # written is this field's error.
    try:
        return orjson.Fragment(orjson.dumps(value, option=_JSON_OPTIONS))
    except TypeError as error:
        raise GraphQLError(f"JSON cannot represent this value: {error}.") from error


DATE_TIME: Final = GraphQLScalarType(
    "DateTime",
    description="A moment as RFC 3339 writes it, such as `2026-01-31T12:00:00Z`; without a zone it is UTC.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
    coerce_output_value=_writer("DateTime", datetime, lambda moment: _aware(moment).isoformat()),
    coerce_input_value=_from_text(
        "DateTime", '"2026-01-31T12:00:00Z"', lambda text: _aware(datetime.fromisoformat(text))
    ),
)
DATE: Final = GraphQLScalarType(
    "Date",
    description="A day, such as `2026-01-31`.",
    coerce_output_value=_writer("Date", date, _write_date),
    coerce_input_value=_from_text("Date", '"2026-01-31"', date.fromisoformat),
)
TIME: Final = GraphQLScalarType(
    "Time",
    description="A time of day, such as `12:30:00`.",
    coerce_output_value=_writer("Time", time, time.isoformat),
    coerce_input_value=_from_text("Time", '"12:30:00"', time.fromisoformat),
)
DECIMAL: Final = GraphQLScalarType(
    "Decimal",
    description="An exact decimal number, written as a string such as `12.50`.",
    coerce_output_value=_writer("Decimal", Decimal, str),
    coerce_input_value=_read_decimal,
)
UUID_SCALAR: Final = GraphQLScalarType(
    "UUID",
    description="A UUID (RFC 9562), such as `01890a5d-ac96-774b-bcce-b302099a8057`.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc9562",
    coerce_output_value=_writer("UUID", UUID, str),
    coerce_input_value=_from_text("UUID", '"01890a5d-ac96-774b-bcce-b302099a8057"', UUID),
)
BIG_INT: Final = GraphQLScalarType(
    "BigInt",
    description="A whole number of at most 64 bits, written as a number.",
    coerce_output_value=_read_big_int,
    coerce_input_value=_read_big_int,
)
JSON: Final = GraphQLScalarType(
    "JSON",
    description="Any JSON value (RFC 8259).",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
    coerce_output_value=_write_json,
)


def as_definition(implementation: Any, origin: Any) -> ScalarDefinition:
    """Let Strawberry use a GraphQL type as it is wherever the Python type `origin` is annotated."""
    return ScalarDefinition(
        name=implementation.name,
        description=implementation.description,
        specified_by_url=None,
        serialize=None,
        parse_value=None,
        parse_literal=None,
        origin=origin,
        implementation=implementation,
    )


SCALAR_MAP: Final[dict[object, ScalarDefinition]] = {
    origin: as_definition(implementation, origin)
    for origin, implementation in (
        (datetime, DATE_TIME),
        (date, DATE),
        (time, TIME),
        (Decimal, DECIMAL),
        (UUID, UUID_SCALAR),
        (BigInt, BIG_INT),
        (Json, JSON),
    )
}
"""What Strawberry writes for each of these Python types."""
