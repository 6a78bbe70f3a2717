"""Client's values to author's values: compiled once per action, run at each call.

GraphQL has already coerced the leaves; what is left is to build the author's own collections and dataclasses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, Union, get_args, get_origin

from api_factory.actions import Parameter, fields_of
from api_factory.errors import BadUserInput
from schema.defaults import is_shown

Reader: TypeAlias = Callable[[Any], Any]
"""Turns a coerced GraphQL value into what the author's function expects; makes a new one every time."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    name: str
    read: Reader | None
    is_null_omitted: bool
    is_absent_null: bool


def arguments_reader(parameters: Iterable[Parameter]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Compile the reading of an action's arguments: by client's name in, by Python name out."""
    return _members_reader(parameters)


def value_reader(annotation: Any) -> Reader | None:
    """Compile the reading of one value of a resolved type; None when it passes as it is."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Union:
        return _optional_reader(value_reader(arguments[0]))
    if origin in (list, tuple, set, frozenset):
        return _collection_reader(origin, value_reader(arguments[0]))
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _dataclass_reader(annotation)
    return _finite if annotation is float else None


def _finite(value: float) -> float:
    # GraphQL reads 1e999 as infinity, which no author expects and no JSON can hold.
    if not math.isfinite(value):
        raise BadUserInput("A number is too large for a float; send one below 1.8e308.")
    return value


def _optional_reader(read: Reader | None) -> Reader | None:
    if read is None:
        return None
    return lambda value: None if value is None else read(value)


def _collection_reader(kind: Callable[[Iterable[Any]], Any], read: Reader | None) -> Reader:
    # Copied even when nothing changes: GraphQL hands the same default to every call that omits it.
    if read is None:
        return kind
    return lambda values: kind(map(read, values))


def _dataclass_reader(cls: type) -> Reader:
    read = _members_reader(fields_of(cls, is_input=True))
    return lambda value: cls(**read(value))


def _members_reader(members: Iterable[Parameter]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    entries = tuple(map(_entry, members))

    def read(values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for entry in entries:
            value = values.get(entry.key)
            if value is None and (entry.is_null_omitted or not (entry.is_absent_null or entry.key in values)):
                continue
            found[entry.name] = value if entry.read is None or value is None else entry.read(value)
        return found

    return read


def _entry(member: Parameter) -> _Entry:
    return _Entry(
        key=member.field_name,
        name=member.name,
        read=value_reader(member.annotation),
        is_null_omitted=not member.is_required and not is_shown(member),
        is_absent_null=member.is_required,
    )
