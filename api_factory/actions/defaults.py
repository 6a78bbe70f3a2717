"""Whether a default value is of the type that its annotation promises to clients."""

from __future__ import annotations

from typing import Any, Union, get_args

from api_factory.actions.calls import ID
from api_factory.actions.hints import Hint, origin_of


def conforms(value: object, annotation: Hint) -> bool:
    """Say whether a value is of a resolved type, as strictly as a client's value would be read."""
    kind = origin_of(annotation) or annotation
    if kind is Union:
        return value is None or conforms(value, get_args(annotation)[0])
    if kind is Any or kind is dict:
        return is_json(value) and (kind is Any or isinstance(value, dict))
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value) is kind and all(conforms(item, get_args(annotation)[0]) for item in value)
    if kind is float:
        return type(value) in (int, float)
    return type(value) is (str if kind is ID else kind)


def is_json(value: object) -> bool:
    """Say whether a value can be written as JSON without a rule of its own."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_json, value))
    return value is None or type(value) in (bool, int, float, str)
