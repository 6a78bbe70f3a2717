"""The scalars beyond GraphQL's own five: what they accept, and how they are written on the wire.

A value that cannot be written is an error of its field, never of the whole reply.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, NewType, TypeVar
from uuid import UUID

import orjson
from graphql import (
    ConstValueNode,
    FloatValueNode,
    GraphQLError,
    GraphQLScalarType,
    IntValueNode,
    StringValueNode,
)
from strawberry.types.scalar import ScalarDefinition

from api_factory.actions.wire import (
    plain_json,
    read_date,
    read_decimal,
    read_moment,
    read_time,
    read_uuid,
    write_date,
    write_moment,
)

BigInt = NewType("BigInt", int)
"""A count that may pass 2^31: a number on the wire, at most 64 bits."""

Json = NewType("Json", object)
"""Free JSON."""

_BIG_MAX = 2**63 - 1

_T = TypeVar("_T")


def _from_text(name: str, example: str, parse: Callable[[str], _T]) -> Callable[[object], _T]:
    def coerce(value: object) -> _T:
        try:
            return parse(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError, AttributeError):
            raise GraphQLError(f"{name} cannot represent this value; write it like {example}.") from None

    return coerce


def _writer(name: str, kind: type, write: Callable[[Any], str]) -> Callable[[object], str]:
    def coerce(value: object) -> str:
        if not isinstance(value, kind):
            raise GraphQLError(f"{name} cannot represent a value of type {type(value).__name__}.")
        return write(value)

    return coerce


def _read_decimal(value: object) -> Decimal:
    try:
        return read_decimal(value)
    except ValueError as error:
        raise GraphQLError(f"Decimal cannot represent this value. {error}") from None


def _read_decimal_literal(node: ConstValueNode) -> Decimal:
    # The digits as they are written: a float between would lose some.
    is_written = isinstance(node, (IntValueNode, FloatValueNode, StringValueNode))
    return _read_decimal(getattr(node, "value", None) if is_written else None)


def _read_big_int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _BIG_MAX:
        return value
    raise GraphQLError("BigInt cannot represent this value; write a whole number of at most 64 bits.")


def _write_json(value: object) -> object:
    # Written here and copied into the reply as it is; what cannot be written is this field's error.
    try:
        return orjson.Fragment(orjson.dumps(plain_json(value)))
    except (TypeError, ValueError) as error:
        raise GraphQLError(f"JSON cannot represent this value: {error}") from error


DATE_TIME: Final = GraphQLScalarType(
    "DateTime",
    description="A moment with its zone as RFC 3339 writes it, such as `2026-01-31T12:00:00Z`.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
    coerce_output_value=_writer("DateTime", datetime, write_moment),
    coerce_input_value=_from_text("DateTime", '"2026-01-31T12:00:00Z"', read_moment),
)
DATE: Final = GraphQLScalarType(
    "Date",
    description="A day, such as `2026-01-31`.",
    coerce_output_value=_writer("Date", date, write_date),
    coerce_input_value=_from_text("Date", '"2026-01-31"', read_date),
)
TIME: Final = GraphQLScalarType(
    "Time",
    description="A time of day as RFC 3339 writes it, such as `12:30:00`, with or without an offset.",
    coerce_output_value=_writer("Time", time, time.isoformat),
    coerce_input_value=_from_text("Time", '"12:30:00"', read_time),
)
DECIMAL: Final = GraphQLScalarType(
    "Decimal",
    description="An exact decimal number, written as a string such as `12.50` of at most 60 characters.",
    coerce_output_value=_writer("Decimal", Decimal, str),
    coerce_input_value=_read_decimal,
    coerce_input_literal=_read_decimal_literal,
)
UUID_SCALAR: Final = GraphQLScalarType(
    "UUID",
    description="A UUID (RFC 9562), such as `01890a5d-ac96-774b-bcce-b302099a8057`.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc9562",
    coerce_output_value=_writer("UUID", UUID, str),
    coerce_input_value=_from_text("UUID", '"01890a5d-ac96-774b-bcce-b302099a8057"', read_uuid),
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
