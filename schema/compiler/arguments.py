"""The arguments of a field as an expression of Python, where they are constants and variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from keyword import iskeyword
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLNonNull,
    ListValueNode,
    ObjectValueNode,
    Undefined,
    VariableNode,
    is_required_argument,
)
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal

from schema.compiler.runtime import Place
from schema.compiler.variables import is_immutable

Bind = Callable[[object, str], str]
"""Gives a constant a name in the generated code."""


class NeedsCoercion(Exception):
    """The arguments are more than constants and variables; graphql-core coerces them at each run."""


def keywords(place: Place, place_name: str, bind: Bind, always_given: Mapping[str, bool]) -> str:
    """Return what stands behind `resolve(source, info`: nothing, or `, name=value…`.

    `always_given` tells of each variable whether it has a value in every run, and one that is not null.
    """
    node = place.nodes[0]
    if not place.field.args:
        return ""
    out_names = {each.out_name or name for name, each in place.field.args.items()}
    try:
        if len(out_names) < len(place.field.args):
            raise NeedsCoercion
        given = {each.name.value: each.value for each in node.arguments or ()}
        parts = [
            part
            for name, argument in place.field.args.items()
            if (part := _keyword(name, argument, given.get(name), bind, always_given))
        ]
    except NeedsCoercion:
        return f", **{place_name}.arguments(state)"
    return "".join(f", {part}" for part in parts)


def is_plain_name(name: str) -> bool:
    """Tell whether Python's text can hold a name as it is; it reads some letters beyond ASCII as others."""
    return name.isascii() and name.isidentifier() and not iskeyword(name) and name != "__debug__"


def _keyword(
    name: str, argument: GraphQLArgument, node: Any, bind: Bind, always_given: Mapping[str, bool]
) -> str | None:
    out_name = argument.out_name or name
    if not is_plain_name(out_name):
        raise NeedsCoercion
    if isinstance(node, VariableNode):
        return _variable(out_name, argument, node.name.value, bind, always_given)
    value = _default(argument) if node is None else _literal(node, argument)
    return None if value is Undefined else f"{out_name}={bind(value, 'constant')}"


def _variable(
    out_name: str, argument: GraphQLArgument, variable: str, bind: Bind, always_given: Mapping[str, bool]
) -> str:
    if always_given[variable]:
        return f"{out_name}=values[{variable!r}]"
    if isinstance(argument.type, GraphQLNonNull):
        # Null may come in through a nullable variable that has a default; that is an error of the field.
        raise NeedsCoercion
    default = _default(argument)
    if default is Undefined:
        nothing = bind({}, "nothing")
        return f"**({{{out_name!r}: values[{variable!r}]}} if {variable!r} in values else {nothing})"
    constant = bind(default, "constant")
    return f"{out_name}=values[{variable!r}] if {variable!r} in values else {constant}"


def _default(argument: GraphQLArgument) -> Any:
    if is_required_argument(argument):
        raise NeedsCoercion
    try:
        return _shared(coerce_default_value(argument))
    except (GraphQLError, TypeError):
        raise NeedsCoercion from None


def _literal(node: Any, argument: GraphQLArgument) -> Any:
    if isinstance(node, (ListValueNode, ObjectValueNode)):
        # It is made anew for each run, and may hold variables.
        raise NeedsCoercion
    value = coerce_input_literal(node, argument.type)
    if value is Undefined:
        raise NeedsCoercion
    return _shared(value)


def _shared(value: Any) -> Any:
    """Return a value that all runs may share; a list or an object is made anew for each."""
    if value is not Undefined and not is_immutable(value):
        raise NeedsCoercion
    return value
