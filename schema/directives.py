"""The directives of the schema, and the policies compiled from the very same objects.

What `/schema.graphql` prints is what is enforced: a field carries directive objects, the printer writes
them down, and `compile_policies` reads them once, when the schema is built. Nothing else says who may call
a field. Resolvers check nothing; one pass over the selected operation (`schema.operation`) asks the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NewType, TypeAlias, TypeVar

import strawberry
from graphql import GraphQLField, GraphQLInterfaceType, GraphQLNamedType, GraphQLObjectType, GraphQLSchema
from strawberry.schema_directive import Location

from api_factory.errors import ConfigurationError
from api_factory.rates import Rate, window_name

Scope = NewType("Scope", str)
"""A scope: a string here, for clients a value of the enum that is built from the catalogue."""

DEFINITION: Final = "strawberry-definition"
"""Where Strawberry, its printer and this module look for the directives of a GraphQL object."""


@strawberry.schema_directive(
    name="requiresKey",
    locations=[Location.FIELD_DEFINITION, Location.OBJECT],
    description="Needs an active API key that holds every listed scope.",
)
class RequiresKey:
    """The field, or every field of the type, is for keys that hold all these scopes."""

    scopes: list[Scope]


@strawberry.schema_directive(
    name="public",
    locations=[Location.FIELD_DEFINITION],
    description="Callable without an API key.",
)
class Public:
    """The field is for everybody."""


@strawberry.schema_directive(
    name="cost",
    locations=[Location.FIELD_DEFINITION],
    description="Units that one call takes from the quota.",
)
class Cost:
    """The field weighs this many units, once for each item of the lists around it."""

    weight: int


@strawberry.schema_directive(
    name="rateLimit",
    locations=[Location.FIELD_DEFINITION],
    repeatable=True,
    description="At most `limit` calls in `window` seconds for each API key.",
)
class RateLimit:
    """The field may be called this often; several windows hold at once."""

    limit: int
    window: int


@strawberry.schema_directive(
    name="listSize",
    locations=[Location.FIELD_DEFINITION],
    description="How many items a list can have: the largest of the named arguments, else the assumed size.",
)
class ListSize:
    """What is selected below the field is counted once for each item."""

    slicing_arguments: list[str]
    assumed_size: int


DIRECTIVES: Final[tuple[type, ...]] = (RequiresKey, Public, Cost, RateLimit, ListSize)
"""Every directive the schema knows; each is in the SDL, applied or not."""


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives of a field that is generated: all that Strawberry's printer asks of its definition."""

    directives: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a field asks of its caller. `scopes` is None when no key is needed; `weight` is in units."""

    coordinate: str
    scopes: frozenset[str] | None = None
    weight: int = 0
    rates: tuple[Rate, ...] = ()
    slicing_arguments: tuple[str, ...] = ()
    assumed_size: int = 1


Policies: TypeAlias = Mapping[str, Mapping[str, Policy]]
"""Type name, then field name, to the policy; complete for every object and interface of the schema."""


def compile_policies(schema: GraphQLSchema) -> Policies:
    """Read every applied directive into the table the guard's pass uses.

    Raises:
        ConfigurationError: A root field says neither `@requiresKey` nor `@public`, or says both: a field
            that nobody thought about is never served.
    """
    table = {
        name: {field_name: _policy(named, field_name, field) for field_name, field in named.fields.items()}
        for name, named in schema.type_map.items()
        if isinstance(named, (GraphQLObjectType, GraphQLInterfaceType)) and not name.startswith("__")
    }
    for root in filter(None, (schema.query_type, schema.mutation_type, schema.subscription_type)):
        for field_name, field in root.fields.items():
            _check_root_field(table[root.name][field_name], _applied(root, field))
    return table


_Directive = TypeVar("_Directive")


def _policy(owner: GraphQLNamedType, field_name: str, field: GraphQLField) -> Policy:
    applied = _applied(owner, field)
    needs = list(_of(RequiresKey, applied))
    sizes = list(_of(ListSize, applied))
    return Policy(
        coordinate=f"{owner.name}.{field_name}",
        scopes=frozenset(scope for need in needs for scope in need.scopes) if needs else None,
        weight=sum(cost.weight for cost in _of(Cost, applied)),
        rates=tuple(Rate(one.limit, one.window, window_name(one.window)) for one in _of(RateLimit, applied)),
        slicing_arguments=tuple(name for size in sizes for name in size.slicing_arguments),
        assumed_size=max((size.assumed_size for size in sizes), default=1),
    )


def _applied(owner: GraphQLNamedType, field: GraphQLField) -> tuple[object, ...]:
    return (*_written_on(owner), *_written_on(field))


def _written_on(element: GraphQLNamedType | GraphQLField) -> tuple[object, ...]:
    definition = element.extensions.get(DEFINITION)
    return tuple(getattr(definition, "directives", None) or ())


def _of(kind: type[_Directive], applied: Iterable[object]) -> Iterator[_Directive]:
    return (each for each in applied if isinstance(each, kind))


def _check_root_field(policy: Policy, applied: tuple[object, ...]) -> None:
    needs_key = policy.scopes is not None
    is_public = any(_of(Public, applied))
    if needs_key and is_public:
        raise ConfigurationError(f"{policy.coordinate} has both @requiresKey and @public; keep one of them.")
    if not needs_key and not is_public:
        raise ConfigurationError(
            f"{policy.coordinate} has neither @requiresKey nor @public; say who may call it."
        )
