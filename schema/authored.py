"""Authors' types in GraphQL: their dataclasses and Enums, under their own names.

The types are generated straight into graphql-core and the authors' classes are not touched. A dataclass is a
type where it is returned and an `…Input` where it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Any, Union, cast, get_args, get_origin
from uuid import UUID

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
    GraphQLType,
    Undefined,
)

from api_factory.actions import ID, Parameter, docstring_of, fields_of
from api_factory.errors import ConfigurationError
from schema.defaults import is_shown, python_default, shown_default
from schema.scalars import DATE, DATE_TIME, DECIMAL, JSON, TIME, UUID_SCALAR

_LEAVES: dict[Any, GraphQLNamedType] = {
    int: GraphQLInt,
    float: GraphQLFloat,
    str: GraphQLString,
    bool: GraphQLBoolean,
    ID: GraphQLID,
    UUID: UUID_SCALAR,
    Decimal: DECIMAL,
    datetime: DATE_TIME,
    date: DATE,
    time: TIME,
    dict: JSON,
}


class AuthoredTypes:
    """Every authors' type that one schema uses, made once; `taken` are the names of the server's own."""

    def __init__(self, taken: Collection[str]) -> None:
        """Start without any type of an author."""
        self._taken = frozenset(taken)
        self._made: dict[str, tuple[type, GraphQLNamedType]] = {}

    def returned(self, annotation: Any) -> GraphQLOutputType:
        """Return the type of an action's field, which may be null whatever the function returns.

        Raises:
            ConfigurationError: Two types would have one name for clients.
        """
        return cast("GraphQLOutputType", _nullable(self._output(annotation)))

    def argument(self, parameter: Parameter) -> GraphQLArgument:
        """Return an argument with its type, default and help."""
        return GraphQLArgument(
            self._input(parameter),
            default_value=_default(parameter),
            description=parameter.description,
        )

    def _output(self, annotation: Any) -> GraphQLOutputType:
        return cast("GraphQLOutputType", self._wrapped(annotation, self._object))

    def _input(self, member: Parameter) -> GraphQLInputType:
        wrapped = self._wrapped(member.annotation, self._input_object)
        if not member.is_required and not is_shown(member):
            wrapped = _nullable(wrapped)
        return cast("GraphQLInputType", wrapped)

    def _wrapped(self, annotation: Any, make: Callable[[type], GraphQLNamedType]) -> GraphQLType:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Union:
            return _nullable(self._wrapped(arguments[0], make))
        if annotation is Any:
            # Any may be None, so free JSON may be null.
            return JSON
        if origin in (list, tuple, set, frozenset):
            return GraphQLNonNull(GraphQLList(self._wrapped(arguments[0], make)))
        leaf: Any = _LEAVES.get(origin or annotation)
        return GraphQLNonNull(leaf or self._named(annotation, make))

    def _named(self, cls: type, make: Callable[[type], GraphQLNamedType]) -> Any:
        return self._enum(cls) if issubclass(cls, Enum) else make(cls)

    def _enum(self, cls: type[Enum]) -> GraphQLNamedType:
        def make() -> GraphQLNamedType:
            values = {member.name: GraphQLEnumValue(member) for member in cls}
            return GraphQLEnumType(cls.__name__, values, description=docstring_of(cls).head)

        return self._once(cls.__name__, cls, GraphQLEnumType, make)

    def _object(self, cls: type) -> GraphQLNamedType:
        def make() -> GraphQLNamedType:
            fields = {each.field_name: self._output_field(each) for each in fields_of(cls)}
            return GraphQLObjectType(cls.__name__, fields, description=docstring_of(cls).head)

        return self._once(cls.__name__, cls, GraphQLObjectType, make)

    def _input_object(self, cls: type) -> GraphQLNamedType:
        name = cls.__name__ if cls.__name__.endswith("Input") else f"{cls.__name__}Input"

        def make() -> GraphQLNamedType:
            fields = {each.field_name: self._input_field(each) for each in fields_of(cls, is_input=True)}
            return GraphQLInputObjectType(name, fields, description=docstring_of(cls).head)

        return self._once(name, cls, GraphQLInputObjectType, make)

    def _output_field(self, member: Parameter) -> GraphQLField:
        return GraphQLField(
            self._output(member.annotation), resolve=_Attribute(member.name), description=member.description
        )

    def _input_field(self, member: Parameter) -> GraphQLInputField:
        return GraphQLInputField(
            self._input(member), default_value=_default(member), description=member.description
        )

    def _once(
        self, name: str, cls: type, kind: type[GraphQLNamedType], make: Callable[[], GraphQLNamedType]
    ) -> GraphQLNamedType:
        path = f"{cls.__module__}.{cls.__qualname__}"
        if name in self._taken:
            raise ConfigurationError(f"{path}: {name} is a type of the server itself; rename the class.")
        if name not in self._made:
            self._made[name] = (cls, make())
        owner, made = self._made[name]
        if owner is not cls or not isinstance(made, kind):
            other = f"{owner.__module__}.{owner.__qualname__}"
            raise ConfigurationError(f"{path} and {other} would both be {name} for clients; rename one.")
        return made


def _nullable(type_: GraphQLType) -> GraphQLType:
    return type_.of_type if isinstance(type_, GraphQLNonNull) else type_


def _default(member: Parameter) -> Any:
    return shown_default(python_default(member), member.annotation) if is_shown(member) else Undefined


class _Attribute:
    """A resolver that reads one attribute; `attribute` lets the compiler read it without a call."""

    __slots__ = ("_get", "attribute")

    def __init__(self, name: str) -> None:
        self.attribute = name
        self._get = attrgetter(name)

    def __call__(self, source: object, _info: object) -> object:
        return self._get(source)
