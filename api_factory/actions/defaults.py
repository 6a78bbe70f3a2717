"""Whether a default value is of the type that its annotation promises to clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from typing import Any, TypeAlias, Union, get_args

from api_factory.actions.calls import ID
from api_factory.actions.hints import Hint, origin_of
from api_factory.actions.wire import is_text

Members: TypeAlias = Callable[[type], Iterable[tuple[str, Hint]]]
"""Names the fields of a dataclass, each with its resolved type."""


def _no_members(_cls: type) -> Iterable[tuple[str, Hint]]:
    return ()


def conforms(value: object, annotation: Hint, members: Members = _no_members) -> bool:
    """Say whether a value is of a resolved type, as strictly as a client's value would be read.

    A dataclass is only looked into by the fields that `members` names.
    """
    kind = origin_of(annotation) or annotation
    if kind is Union:
        return value is None or conforms(value, get_args(annotation)[0], members)
    if kind is Any or kind is dict:
        return is_json(value) and (kind is Any or isinstance(value, dict))
    if isinstance(value, (list, tuple, set, frozenset)):
        inner = get_args(annotation)[0]
        return type(value) is kind and all(conforms(item, inner, members) for item in value)
    if kind is float:
        return type(value) in (int, float)
    if kind is str or kind is ID:
        return type(value) is str and is_text(value)
    return type(value) is kind and all(
        conforms(getattr(value, name), hint, members) for name, hint in _members_of(kind, members)
    )


def _members_of(kind: type, members: Members) -> Iterable[tuple[str, Hint]]:
    return members(kind) if is_dataclass(kind) else ()


def is_json(value: object) -> bool:
    """Say whether a value can be written as JSON without a rule of its own."""
    if isinstance(value, dict):
        return all(is_json(key) and isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_json, value))
    if type(value) is str:
        return is_text(value)
    return value is None or type(value) in (bool, int, float)
