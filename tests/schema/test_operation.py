"""The survey: what an operation is charged and asked for is what it would run."""

from __future__ import annotations

from typing import Any

import pytest
import strawberry
from graphql import parse
from graphql.execution.values import get_variable_values

from api_factory.actions import Catalogue, action, define
from api_factory.errors import IntrospectionOff, QueryTooComplex
from schema import operation
from schema.build import build_schema
from schema.directives import Cost, ListSize, Public, RateLimit, RequiresKey, Scope
from schema.documents import Documents
from schema.execution import prepare
from schema.operation import survey
from schema.queries import Queries


@action(units=5)
async def dear(text: str = "") -> str:
    """Cost five."""
    return text


@action(public=True, charge="free")
async def gift() -> str:
    """Cost nothing."""
    return ""


@strawberry.interface
class Shape:
    name: str


@strawberry.type
class Square(Shape):
    side: int = strawberry.field(directives=[Cost(weight=3)])
    deep: int = strawberry.field(directives=[RequiresKey(scopes=[Scope("MANAGE_KEYS")])])

    @strawberry.field
    def inner(self) -> list[Shape]:
        return []


@strawberry.type
class Circle(Shape):
    radius: int = strawberry.field(directives=[Cost(weight=4)])

    @strawberry.field
    def inner(self) -> list[Shape]:
        return []


@strawberry.type(name="Query")
class Root(Queries):
    @strawberry.field(
        directives=[
            RequiresKey(scopes=[Scope("READ_USAGE")]),
            RateLimit(limit=2, window=60),
            ListSize(slicing_arguments=["first", "last"], assumed_size=20),
        ]
    )
    def shapes(self, first: int | None = None, last: int | None = None) -> list[Shape]:
        return []

    @strawberry.field(directives=[Public()])
    def shape(self) -> Shape:
        return Circle(name="c", radius=1)

    @strawberry.field(directives=[Public()])
    def square(self) -> Square | None:
        return None

    @strawberry.field(directives=[Public()])
    def circle(self) -> Circle | None:
        return None


SCHEMA = build_schema(Catalogue([define(dear), define(gift)]), query=Root)


def look(text: str, **variables: Any) -> operation.Survey:
    document = Documents(SCHEMA.core).read(text)
    node = document.operation(None)
    values = get_variable_values(SCHEMA.core, node.variable_definitions or (), variables)
    assert not isinstance(values, list), values
    return survey(SCHEMA.rules, node, document.fragments, values)


@pytest.mark.parametrize(
    ("text", "variables", "names", "cost"),
    [
        ("{ dear }", {}, ["dear"], 5),
        ("{ dear dear dear }", {}, ["dear"], 5),
        ("{ dear a: dear b: dear }", {}, ["dear"] * 3, 15),
        ("{ a: dear ...F } fragment F on Query { a: dear b: dear }", {}, ["dear"] * 2, 10),
        ("{ ...F ...F ...F } fragment F on Query { dear }", {}, ["dear"], 5),
        ("{ ... { dear } ... on Query { dear gift } }", {}, ["dear", "gift"], 5),
        ("{ ...F } fragment F on Query { ...G dear } fragment G on Query { dear }", {}, ["dear"], 5),
        ("{ dear @skip(if: true) gift }", {}, ["gift"], 0),
        ("{ dear @include(if: false) gift }", {}, ["gift"], 0),
        ("{ dear @skip(if: false) @include(if: true) }", {}, ["dear"], 5),
        ("query($n: Boolean!) { dear @skip(if: $n) gift }", {"n": True}, ["gift"], 0),
        ("query($n: Boolean!) { dear @skip(if: $n) gift }", {"n": False}, ["dear", "gift"], 5),
        ("query($n: Boolean = true) { ... @skip(if: $n) { dear } gift }", {}, ["gift"], 0),
        (
            "query($n: Boolean!) { ...F @include(if: $n) gift } fragment F on Query { dear }",
            {"n": False},
            ["gift"],
            0,
        ),
        ("query($n: Boolean!) { dear @skip(if: $n) dear }", {"n": True}, ["dear"], 5),
    ],
)
def test_what_would_run_once_is_charged_once(
    text: str, variables: dict[str, Any], names: list[str], cost: int
) -> None:
    found = look(text, **variables)
    assert [each.name for each in found.ask.calls] == names
    assert found.cost == cost
    assert list(found.calls.values()) == list(range(len(names)))


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("{ dear }", 1),
        ("{ dear dear }", 1),
        ("{ gift a: square { side } b: square { side } __typename }", 4),
        ("{ gift ...F } fragment F on Query { dear gift }", 2),
        ("{ dear @skip(if: true) }", 1),
    ],
)
def test_every_root_field_that_would_run_weighs_one(text: str, weight: int) -> None:
    assert look(text).ask.weight == weight


def test_calls_are_found_by_their_response_keys() -> None:
    assert look("{ gift a: dear b: dear }").calls == {"gift": 0, "a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "variables", "cost"),
    [
        ("{ shapes(first: 7) { ... on Square { side } } }", {}, 21),
        ("{ shapes(first: 2, last: 5) { ... on Square { side } } }", {}, 15),
        ("{ shapes { ... on Square { side } } }", {}, 60),
        ("query($n: Int) { shapes(first: $n) { ... on Square { side } } }", {"n": 3}, 9),
        ("query($n: Int) { shapes(first: $n) { ... on Square { side } } }", {}, 60),
        ("{ shapes(first: 1) { ... on Square { side } ... on Circle { radius } } }", {}, 4),
        ("{ shapes(first: 1) { ... on Shape { name } } }", {}, 0),
        ("{ shape { ... on Square { side s: side } } }", {}, 6),
        ("{ square { inner { ... on Circle { radius } } side } }", {}, 7),
        ("{ square { side } s: square { side side } circle { radius } }", {}, 10),
        ("{ square { inner { ... on Square { side } } ... on Square { inner { name } } } }", {}, 3),
    ],
)
def test_lists_multiply_and_interfaces_count_as_their_dearest_type(
    text: str, variables: dict[str, Any], cost: int
) -> None:
    assert look(text, **variables).cost == cost


def test_the_ask_unites_what_every_selected_field_needs() -> None:
    found = look("{ gift shapes { ... on Square { deep } } dear }")
    assert found.ask.scopes == {"READ_USAGE", "MANAGE_KEYS", "RUN_ACTIONS"}
    assert found.ask.key_required
    assert found.ask.coordinate == "Query.shapes"
    assert [(coordinate, rate.limit) for coordinate, rate in found.ask.field_rates] == [("Query.shapes", 2)]
    assert not look("{ gift shape { name } }").ask.key_required
    skipped = look("{ gift dear @skip(if: true) }")
    assert (skipped.ask.scopes, skipped.ask.key_required) == (frozenset(), False)


def test_a_field_without_scopes_names_the_coordinate_only_until_one_has_scopes() -> None:
    assert look("{ viewer { id } }").ask.coordinate == "Query.viewer"
    assert look("{ viewer { id } dear }").ask.coordinate == "Query.dear"


def test_only_what_no_variable_changes_is_constant() -> None:
    assert look("{ dear @skip(if: false) shapes(first: 2) { name } }").is_constant
    assert look("query($t: String!) { dear(text: $t) }", t="x").is_constant
    assert not look("query($n: Boolean!) { dear @skip(if: $n) }", n=True).is_constant
    assert not look("query($n: Int) { shapes(last: $n) { name } }", n=1).is_constant


def test_introspection_needs_a_key_beyond_names() -> None:
    assert not look("{ __typename }").ask.key_required
    assert not look('{ __type(name: "Query") { name kind __typename } }').ask.key_required
    for text in (
        "{ __schema { __typename } }",
        '{ a: __type(name: "Query") { name } a: __type(name: "Query") { fields { name } } }',
    ):
        found = look(text)
        assert (found.ask.key_required, found.ask.coordinate, found.ask.scopes) == (
            True,
            found.ask.coordinate,
            frozenset(),
        )
        assert str(found.ask.coordinate).startswith("__")


def test_a_list_argument_that_cannot_be_is_left_to_execution() -> None:
    text = "query($n: Int) { apiKeys(first: $n) { nodes { id } } }"
    assert look(text, n=None).cost == 0

    @strawberry.type(name="Query")
    class Strict(Queries):
        @strawberry.field(directives=[Public(), ListSize(slicing_arguments=["top"], assumed_size=7)])
        def shapes(self, top: int = 3) -> list[Square]:
            return []

    schema = build_schema(Catalogue([]), query=Strict)
    document = Documents(schema.core).read("query($n: Int) { shapes(top: $n) { side } }")
    node = document.operation(None)
    values = get_variable_values(schema.core, node.variable_definitions or (), {"n": None})
    assert not isinstance(values, list)
    assert survey(schema.rules, node, document.fragments, values).cost == 21


def test_nested_fragments_are_walked_in_as_many_steps_as_they_unfold_to() -> None:
    text = "{ ...F0 ...F0 }" + "".join(
        f" fragment F{number} on Query {{ ...F{number + 1} ...F{number + 1} }}" for number in range(39)
    )
    document = parse(text + " fragment F39 on Query { dear }")
    operation_node, *rest = document.definitions
    values = get_variable_values(SCHEMA.core, (), {})
    found = survey(SCHEMA.rules, operation_node, {each.name.value: each for each in rest}, values)  # type: ignore[arg-type, union-attr]
    assert found.steps == 2 * 40 + 1
    assert found.cost == 5


def test_interfaces_in_interfaces_run_out_of_steps() -> None:
    fragments = "".join(
        f" fragment S{level} on Shape {{ ... on Square {{ inner {{ ...S{level + 1} }} }}"
        f" ... on Circle {{ inner {{ ...S{level + 1} }} }} }}"
        for level in range(14)
    )
    fragments += " fragment S14 on Shape { name }"
    document = parse(f"{{ shape {{ ...S0 }} }} {fragments}")
    node, *rest = document.definitions
    values = get_variable_values(SCHEMA.core, (), {})
    with pytest.raises(QueryTooComplex):
        survey(SCHEMA.rules, node, {each.name.value: each for each in rest}, values)  # type: ignore[arg-type, union-attr]


INTROSPECTION = "{ __schema { queryType { name } } }"
NAMES = '{ __type(name: "Query") { kind name __typename } }'


@pytest.mark.parametrize(
    ("introspection", "query", "is_keyed"),
    [
        ("keyed", INTROSPECTION, True),
        ("keyed", '{ __type(name: "Query") { fields { name } } }', True),
        ("keyed", NAMES, False),
        ("open", INTROSPECTION, False),
        ("open", NAMES, False),
        ("off", NAMES, False),
    ],
)
def test_the_operator_says_who_may_introspect(
    catalogue: Any, introspection: Any, query: str, is_keyed: bool
) -> None:
    schema = build_schema(catalogue, introspection=introspection)
    document = Documents(schema.core).read(query)
    prepared = prepare(schema, document, document.operation(None), {})
    assert prepared.survey.ask.key_required is is_keyed


@pytest.mark.parametrize(
    "query",
    [INTROSPECTION, '{ ...F } fragment F on Query { __typename __type(name: "Query") { fields { name } } }'],
)
def test_introspection_that_is_off_is_refused_wherever_it_stands(catalogue: Any, query: str) -> None:
    schema = build_schema(catalogue, introspection="off")
    document = Documents(schema.core).read(query)
    with pytest.raises(IntrospectionOff, match=r"/schema\.graphql"):
        prepare(schema, document, document.operation(None), {})
