"""From clients' names to Python's: compiled once per action, run at each call.

GraphQL has already coerced the leaves. What is left plain here, a dict for a dataclass and a list for a set,
the engine makes into the author's own values, as it does for every face.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, Union, get_args, get_origin

from api_factory.actions import Parameter, fields_of

Reader: TypeAlias = Callable[[Any], Any]
"""Renames the fields in a coerced GraphQL value; makes a new value every time."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    name: str
    read: Reader | None
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
        return _collection_reader(value_reader(arguments[0]))
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _members_reader(fields_of(annotation, is_input=True))
    return None


def _optional_reader(read: Reader | None) -> Reader | None:
    if read is None:
        return None
    return lambda value: None if value is None else read(value)


def _collection_reader(read: Reader | None) -> Reader:
    return list if read is None else lambda values: [read(value) for value in values]


def _members_reader(members: Iterable[Parameter]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    entries = tuple(map(_entry, members))

    def read(values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for entry in entries:
            if entry.key not in values and not entry.is_absent_null:
                continue
            value = values.get(entry.key)
            found[entry.name] = value if entry.read is None or value is None else entry.read(value)
        return found

    return read


def _entry(member: Parameter) -> _Entry:
    return _Entry(
        key=member.field_name,
        name=member.name,
        read=value_reader(member.annotation),
        is_absent_null=member.is_required,
    )
