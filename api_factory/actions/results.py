"""Whether a function returned what it promises: checked once for all faces, before anything is charged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args
from uuid import UUID

from api_factory.actions.annotations import fields_of, readable
from api_factory.actions.calls import ID
from api_factory.actions.hints import Hint, origin_of
from api_factory.actions.wire import INT_MAX, INT_MIN, is_text, plain_json

Check: TypeAlias = Callable[[Any], None]
"""Passes what is of the promised type; raises `WrongResult`."""


class WrongResult(TypeError):
    """A function returned what its annotation does not promise, or what no face can write."""


@cache
def check_of(annotation: Hint) -> Check:
    """Compile the check of a resolved type.

    A list may be a tuple and the other way round; a float may be a whole number; a day may be a moment.
    Nothing else stands for another type, and NaN, infinity and an int beyond 32 bits are no results.
    """
    origin, arguments = origin_of(annotation), get_args(annotation)
    if origin is Union:
        return _optional(check_of(arguments[0]))
    if origin in (list, tuple):
        return _collection((list, tuple), annotation)
    if origin in (set, frozenset):
        return _collection((set, frozenset), annotation)
    if annotation is Any or annotation is dict or origin is dict:
        return _json(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _dataclass(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _of_kind(annotation, lambda value: isinstance(value, annotation))
    return _of_kind(annotation, _LEAVES[annotation])


def has_json_type(plain: Any, annotation: Hint) -> bool:
    """Say whether plain JSON is of a type within free JSON, such as `dict[str, list[int] | None]`."""
    origin, arguments = origin_of(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if origin in (Union, UnionType):
        return any(has_json_type(plain, each) for each in arguments)
    if annotation is list or origin is list:
        return isinstance(plain, list) and _all_of(plain, arguments)
    if annotation is dict or origin is dict:
        return isinstance(plain, dict) and _all_of(plain.values(), arguments[1:])
    kinds = (int, float) if annotation is float else (annotation,)
    return type(plain) in kinds


def _all_of(items: Iterable[Any], annotations: tuple[Hint, ...]) -> bool:
    return not annotations or all(has_json_type(each, annotations[0]) for each in items)


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _collection(kinds: tuple[type[Iterable[Any]], ...], annotation: Hint) -> Check:
    check = check_of(get_args(annotation)[0])

    def check_all(values: Any) -> None:
        if not isinstance(values, kinds):
            raise _wrong(values, annotation)
        for value in values:
            check(value)

    return check_all


def _json(annotation: Hint) -> Check:
    def check(value: Any) -> None:
        try:
            plain = plain_json(value)
        except ValueError as error:
            raise WrongResult(f"it returned free JSON that cannot be written: {error}") from error
        if not has_json_type(plain, annotation):
            raise _wrong(value, annotation)

    return check


def _dataclass(cls: type) -> Check:
    """Write the check down as Python, for it runs for every row of every reply: one line a field.

    The lines hold nothing but names of the author's fields; each lets what is exactly right pass, and leaves
    the rest to the check of its type.
    """
    names: dict[str, Any] = {"cls": cls, "wrong": _wrong}
    lines = ["def check_fields(value):", "    if not isinstance(value, cls): raise wrong(value, cls)"]
    for number, each in enumerate(fields_of(cls)):
        names[f"check_{number}"] = check_of(each.annotation)
        unusual = _UNUSUAL.get(each.annotation)
        lines.append(f"    field = value.{each.name}")
        lines.append(f"    {f'if {unusual}: ' if unusual else ''}check_{number}(field)")
    exec("\n".join(lines), names)  # noqa: S102 - see above
    check: Check = names["check_fields"]
    return check


def _of_kind(annotation: Hint, is_right: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> None:
        if not is_right(value):
            raise _wrong(value, annotation)

    return check


def _wrong(value: object, annotation: Hint) -> WrongResult:
    shown = repr(value)
    shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
    return WrongResult(f"it returned {shown} of type {type(value).__name__} for {readable(annotation)}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and INT_MIN <= value <= INT_MAX


def _is_float(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 1024


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and is_text(value)


_UNUSUAL: Final[Mapping[Hint, str]] = {
    str: "field.__class__ is not str or not field.isascii()",
    ID: "field.__class__ is not str or not field.isascii()",
    int: f"field.__class__ is not int or not {INT_MIN} <= field <= {INT_MAX}",
    # The difference of an infinity or NaN and itself is not 0.
    float: "field.__class__ is not float or field - field != 0.0",
    bool: "field.__class__ is not bool",
}
_LEAVES: Final[dict[Hint, Callable[[Any], bool]]] = {
    bool: lambda value: isinstance(value, bool),
    int: _is_int,
    float: _is_float,
    str: _is_text,
    ID: _is_text,
    UUID: lambda value: isinstance(value, UUID),
    Decimal: lambda value: isinstance(value, Decimal) and value.is_finite(),
    datetime: lambda value: isinstance(value, datetime),
    date: lambda value: isinstance(value, date),
    time: lambda value: isinstance(value, time),
}
