"""Default values as clients see them: which ones the schema can show, and how they are written there."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Union, get_args, get_origin

from graphql import GRAPHQL_MAX_INT, GRAPHQL_MIN_INT

from api_factory.actions import Parameter, fields_of


def is_shown(member: Parameter) -> bool:
    """Tell whether the schema shows the default of an argument or field.

    It does when the default is always the same and has a literal. Otherwise the member has to be nullable in
    the schema; leaving it out means the author's default, and null is refused when the call runs.
    """
    if member.is_required:
        return False
    first, second = python_default(member), python_default(member)
    return bool(first == second) and _has_literal(first, member.annotation)


def python_default(member: Parameter) -> Any:
    """Return the default of a member that has one; a factory is called."""
    return member.default if member.default_factory is None else member.default_factory()


def shown_default(value: Any, annotation: Any) -> Any:
    """Return a default in the form that GraphQL holds internally: dicts by client's names, lists, leaves."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if value is None:
        return None
    if origin is Union:
        return shown_default(value, arguments[0])
    if origin in (list, tuple, set, frozenset):
        # A set is shown in one order, so that the printed schema never changes by itself.
        items = sorted(value, key=repr) if origin in (set, frozenset) else value
        return [shown_default(item, arguments[0]) for item in items]
    if _is_dataclass(annotation):
        return {
            each.field_name: shown_default(getattr(value, each.name), each.annotation)
            for each in fields_of(annotation, is_input=True)
        }
    return value


def _has_literal(value: Any, annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if value is None:
        return True
    if origin is Union:
        return _has_literal(value, arguments[0])
    if origin in (list, tuple, set, frozenset):
        return all(_has_literal(item, arguments[0]) for item in value)
    if _is_dataclass(annotation):
        members = fields_of(annotation, is_input=True)
        return all(_has_literal(getattr(value, each.name), each.annotation) for each in members)
    if annotation is int:
        return bool(GRAPHQL_MIN_INT <= value <= GRAPHQL_MAX_INT)
    if annotation is float:
        return math.isfinite(value)
    return annotation is not Any and annotation is not dict and origin is not dict


def _is_dataclass(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
