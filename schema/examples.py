"""How an action presents itself: its line in the schema, and an operation to copy, valid as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLObjectType,
    GraphQLOutputType,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_required_argument,
    is_required_input_field,
)

from api_factory.actions import Action

_LITERALS: Final = {
    "Int": "1",
    "Float": "1.5",
    "Boolean": "true",
    "String": '"text"',
    "ID": '"id"',
    "UUID": '"01890a5d-ac96-774b-bcce-b302099a8057"',
    "Decimal": '"12.50"',
    "DateTime": '"2026-01-31T12:00:00Z"',
    "Date": '"2026-01-31"',
    "Time": '"12:30:00"',
    "JSON": "{}",
}


@dataclass(frozen=True, slots=True)
class Presentation:
    """The field of an action as SDL, directives included, and an operation that calls it."""

    signature: str
    example: str


def example_of(action: Action, field: GraphQLField) -> str:
    """Return an operation that calls the action by its field and asks for everything it returns."""
    arguments = _members({name: each for name, each in field.args.items() if is_required_argument(each)})
    call = f"{action.field_name}({arguments})" if arguments else action.field_name
    return f"{action.kind} {{ {call}{_selection(field.type)} }}"


def _selection(type_: GraphQLOutputType) -> str:
    named = get_named_type(type_)
    if not isinstance(named, GraphQLObjectType):
        return ""
    return " { " + " ".join(name + _selection(field.type) for name, field in named.fields.items()) + " }"


def _literal(type_: GraphQLInputType) -> str:
    inner: Any = get_nullable_type(type_)
    if is_list_type(inner):
        return f"[{_literal(inner.of_type)}]"
    if isinstance(inner, GraphQLEnumType):
        return str(next(iter(inner.values)))
    if isinstance(inner, GraphQLInputObjectType):
        required = {name: each for name, each in inner.fields.items() if is_required_input_field(each)}
        return "{" + _members(required) + "}"
    return _LITERALS[get_named_type(inner).name]


def _members(members: dict[str, GraphQLArgument] | dict[str, GraphQLInputField]) -> str:
    return ", ".join(f"{name}: {_literal(each.type)}" for name, each in members.items())
