"""The variables of one operation: what can be known of them beforehand, and the reading at each request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any, Final
from uuid import UUID

from graphql import (
    GraphQLError,
    GraphQLInputType,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    VariableDefinitionNode,
    is_leaf_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import (
    VariableValues,
    VariableValueSource,
    get_variable_values,
    input_is_nested_too_deeply,
)
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_value

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1

_IMMUTABLE: Final = (str, int, float, Decimal, UUID, date, time, Enum)

_UNCHANGED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "String": lambda value: value.__class__ is str,
    "ID": lambda value: value.__class__ is str,
    "Boolean": lambda value: value.__class__ is bool,
    "Int": lambda value: value.__class__ is int and _INT_MIN <= value <= _INT_MAX,
    "Float": lambda value: value.__class__ is float and isfinite(value),
}
"""Values of the built-in scalars that coercion returns as they are."""


class _Variable:
    # One definition. `is_unchanged` is None where values have to go through coercion; `default` is
    # Undefined where there is none, `needs_reading` where it must be read anew or is an error.
    __slots__ = (
        "default",
        "is_leaf",
        "is_nullable",
        "is_unchanged",
        "name",
        "needs_reading",
        "signature",
        "type",
    )

    def __init__(self, definition: VariableDefinitionNode, signature: GraphQLVariableSignature) -> None:
        self.signature = signature
        self.name = signature.name
        self.type: GraphQLInputType = signature.type
        self.is_nullable = not isinstance(signature.type, GraphQLNonNull)
        self.default: Any = Undefined
        self.needs_reading = not self.is_nullable
        if definition.default_value is not None:
            self.default = _constant(signature)
            self.needs_reading = self.default is Undefined
        inner = signature.type.of_type if isinstance(signature.type, GraphQLNonNull) else signature.type
        self.is_leaf = is_leaf_type(inner)
        self.is_unchanged = _UNCHANGED.get(str(inner))


class VariableReader:
    """Coerces the variables of one operation as graphql-core does; usual values take a short way.

    Whatever is not usual, errors above all, is done again by graphql-core from the start, so that what a
    client is told does not depend on the way taken. Coercing has no effects.
    """

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode, max_errors: int) -> None:
        """Read the definitions once; at most `max_errors` errors are told of."""
        self._schema = schema
        self._definitions: Collection[VariableDefinitionNode] = operation.variable_definitions or ()
        self._max_errors = max_errors
        signatures = [(each, get_variable_signature(schema, each)) for each in self._definitions]
        self._variables = [
            _Variable(definition, signature)
            for definition, signature in signatures
            if isinstance(signature, GraphQLVariableSignature)
        ]
        self._is_usual = len(self._variables) == len(signatures)

    def read(self, given: Mapping[str, Any]) -> VariableValues | list[GraphQLError]:
        """Return the coerced values, or the errors."""
        if self._is_usual:
            values = self._read_usual(given)
            if values is not None:
                return values
        return get_variable_values(
            self._schema, self._definitions, dict(given), self._max_errors, hide_suggestions=True
        )

    def _read_usual(self, given: Mapping[str, Any]) -> VariableValues | None:
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for each in self._variables:
            name = each.name
            value = given.get(name, Undefined)
            if value is Undefined:
                if each.needs_reading:
                    return None
                sources[name] = VariableValueSource(each.signature)
                if each.default is not Undefined:
                    coerced[name] = each.default
                continue
            sources[name] = VariableValueSource(each.signature, value)
            if each.is_unchanged is None or not each.is_unchanged(value):
                value = _coerced(value, each)
                if value is Undefined:
                    return None
            coerced[name] = value
        return VariableValues(sources, coerced)


def _constant(signature: GraphQLVariableSignature) -> Any:
    """Return a default that all requests may share, or Undefined."""
    try:
        default = coerce_default_value(signature)
    except (GraphQLError, TypeError):
        return Undefined
    return default if is_immutable(default) else Undefined


def is_immutable(value: object) -> bool:
    """Tell whether a coerced value can be given to any number of resolvers."""
    return value is None or isinstance(value, _IMMUTABLE)


def _coerced(value: Any, variable: _Variable) -> Any:
    try:
        if not variable.is_leaf and input_is_nested_too_deeply(value, variable.type):
            return Undefined
        return coerce_input_value(value, variable.type)
    except (GraphQLError, RecursionError):
        return Undefined
