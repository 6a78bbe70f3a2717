"""Authors' types: every supported one makes the round trip, and names that clash stop the start."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Optional
from uuid import UUID

import pytest
import strawberry
from graphql import GraphQLError, GraphQLScalarType, get_introspection_query, parse, validate
from graphql.utilities import coerce_input_value

from api_factory.actions import ID, Caller, Catalogue, action, define
from api_factory.errors import ConfigurationError
from schema.build import build_schema
from schema.directives import Public
from schema.queries import Queries
from schema.readers import arguments_reader
from schema.scalars import BIG_INT, DATE, DATE_TIME, DECIMAL, TIME

DEFAULTS = {
    "whole": 1,
    "real": 0.5,
    "text": "a",
    "flag": True,
    "reference": "r",
    "badge": UUID(int=7),
    "price": Decimal("0.50"),
    "day": date(2026, 1, 31),
    "moment": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "clock": time(12, 30),
    "many": [1, 2],
    "row": ("x",),
    "bag": {3},
    "maybe": None,
    "nested": None,
    "free": {},
    "anything": None,
    "huge": 2**40,
}


async def test_what_is_left_out_is_the_authors_default_and_no_call_sees_anothers(
    face: Any, seen: list[Any]
) -> None:
    for _ in range(2):
        await face.data("{ see }")
    for call in seen:
        call["many"] = call["many"][:-1]
        assert {name: call[name] for name in DEFAULTS} == DEFAULTS
        assert {name: type(call[name]) for name in DEFAULTS} == {
            name: type(value) for name, value in DEFAULTS.items()
        }
        assert call["tone"].name == "WARM"
        assert type(call["few"]) is frozenset
        assert [each.name for each in call["few"]] == ["FORMAL"]
        assert (call["recipient"].full_name, call["recipient"].badge) == ("default", UUID(int=9))


GIVEN = """
query(
  $whole: Int!, $real: Float!, $text: String!, $flag: Boolean!, $reference: ID!, $badge: UUID!,
  $price: Decimal!, $day: Date!, $moment: DateTime!, $clock: Time!, $tone: Tone!, $many: [Int!]!,
  $row: [String!]!, $bag: [Int!]!, $few: [Tone!]!, $maybe: Int, $nested: [[Int!]!], $free: JSON,
  $anything: JSON, $recipient: RecipientInput!
) {
  see(
    whole: $whole, real: $real, text: $text, flag: $flag, reference: $reference, badge: $badge, price: $price,
    day: $day, moment: $moment, clock: $clock, tone: $tone, many: $many, row: $row, bag: $bag,
    few: $few, maybe: $maybe, nested: $nested, free: $free, anything: $anything, recipient: $recipient
  )
}
"""
SENT = {
    "whole": 2**31 - 1,
    "real": 3,
    "text": "ü\u0000\U0001f600",
    "flag": False,
    "reference": 7,
    "badge": "01890a5d-ac96-774b-bcce-b302099a8057",
    "price": "12.50",
    "day": "2026-02-28",
    "moment": "2026-02-28T01:02:03.000004+02:00",
    "clock": "23:59:59",
    "tone": "FORMAL",
    "many": [3],
    "row": ["y", "z"],
    "bag": [4, 4],
    "few": ["WARM", "WARM"],
    "maybe": 5,
    "nested": [[1], []],
    "free": {"a": [1, {"b": None}]},
    "anything": [None, True],
    "recipient": {"fullName": "Ada", "tone": "FORMAL", "bornOn": "1815-12-10", "tags": ["x"]},
}


async def test_what_is_given_arrives_as_the_authors_own_types(face: Any, seen: list[Any]) -> None:
    await face.data(GIVEN, SENT)
    (call,) = seen
    assert call["many"].pop() == 99
    assert call["moment"] == datetime(2026, 2, 28, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
    assert call["badge"] == UUID(str(SENT["badge"]))
    assert (call["price"], call["day"], call["clock"]) == (
        Decimal("12.50"),
        date(2026, 2, 28),
        time(23, 59, 59),
    )
    assert (call["tone"].name, [each.name for each in call["few"]]) == ("FORMAL", ["WARM"])
    assert (call["many"], call["row"], call["bag"], call["nested"]) == ([3], ("y", "z"), {4}, [[1], []])
    assert (call["reference"], call["maybe"], call["free"], call["anything"]) == (
        "7",
        5,
        SENT["free"],
        [None, True],
    )
    assert (call["real"], type(call["real"]), call["text"]) == (3.0, float, SENT["text"])
    recipient = call["recipient"]
    assert type(recipient).__module__ == type(call["tone"]).__module__
    assert (recipient.full_name, recipient.born_on, recipient.tags) == ("Ada", date(1815, 12, 10), ["x"])
    assert isinstance(recipient.badge, UUID)


async def test_literals_are_read_like_variables(face: Any, seen: list[Any]) -> None:
    await face.data(
        "{ see(price: 0.10, bag: 5, nested: [1], free: {a: [1, {b: null}], c: X}, tone: FORMAL,"
        ' moment: "2026-01-01T00:00:00z", recipient: {fullName: "B"}, huge: 5) }'
    )
    (call,) = seen
    assert (call["price"], call["bag"], call["nested"]) == (Decimal("0.10"), {5}, [[1]])
    assert str(call["price"]) == "0.10"
    assert call["free"] == {"a": [1, {"b": None}], "c": "X"}
    assert call["moment"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert (call["recipient"].tone.name, call["recipient"].tags, call["huge"]) == ("WARM", [], 5)


async def test_a_result_is_written_as_its_type_says(face: Any) -> None:
    data = await face.data(
        '{ greet(recipient: {fullName: "Ada", bornOn: "1815-12-10"}, times: 2, others: [{fullName: "Bo"}])'
        " { textSaid recipient { fullName tone bornOn tags } more anything } }"
    )
    assert data["greet"] == {
        "textSaid": "Hello Ada Bo Hello Ada Bo",
        "recipient": {"fullName": "Ada", "tone": "WARM", "bornOn": "1815-12-10", "tags": []},
        "more": {"times": 2},
        "anything": None,
    }
    value = {"a": [1, 2.5, None, True, "ü"], "b": {"c": {}}}
    assert await face.data("query($v: JSON) { returned(value: $v) }", {"v": value}) == {"returned": value}
    assert await face.data("{ returned }") == {"returned": None}


@pytest.mark.parametrize(
    "argument",
    [
        "whole: 2147483648",
        "whole: " + "9" * 5_000,
        'whole: "1"',
        "text: 1",
        'badge: "x"',
        "badge: 7",
        'price: "NaN"',
        'price: "Infinity"',
        'price: "x"',
        "price: true",
        "price: " + "9" * 5_000,
        'day: "2026-02-30"',
        "day: 7",
        'moment: "yesterday"',
        'moment: "99999-01-01T00:00:00Z"',
        'clock: "25:00"',
        "tone: LOUD",
        'tone: "FORMAL"',
        "many: [null]",
        "many: null",
        "recipient: {}",
        'recipient: {fullName: "a", unknown: 1}',
        "unknown: 1",
    ],
)
async def test_an_argument_of_the_wrong_type_is_refused_before_anything_runs(
    face: Any, seen: list[Any], argument: str
) -> None:
    reply = await face.post(f"{{ see({argument}) }}")
    assert reply.status_code == 400, reply.text
    assert reply.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert (seen, face.guard.asks) == ([], [])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Int", 2**31),
        ("Int", 1.5),
        ("Int", True),
        ("Float", "x"),
        ("String", 7),
        ("Boolean", "true"),
        ("UUID", [1]),
        ("Decimal", {"a": 1}),
        ("Decimal", True),
        ("Date", "x"),
        ("DateTime", {}),
        ("Time", 9),
        ("Tone", "x"),
        ("[Int!]", ["x"]),
        ("RecipientInput", {"fullName": None}),
        ("RecipientInput", {"fullName": "a", "tone": 7}),
    ],
)
async def test_a_variable_of_the_wrong_type_is_refused_before_anything_runs(
    face: Any, seen: list[Any], kind: str, value: Any
) -> None:
    names = {
        "Int": "whole",
        "Float": "real",
        "String": "text",
        "Boolean": "flag",
        "UUID": "badge",
        "Decimal": "price",
        "Date": "day",
        "DateTime": "moment",
        "Time": "clock",
        "Tone": "tone",
        "[Int!]": "many",
        "RecipientInput": "recipient",
    }
    reply = await face.post(f"query($v: {kind}!) {{ see({names[kind]}: $v) }}", {"v": value})
    assert reply.status_code == 400, reply.text
    assert reply.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert (seen, face.guard.asks) == ([], [])


def test_defaults_and_help_are_in_the_sdl(guarded: Any) -> None:
    for line in (
        "whole: Int! = 1",
        "real: Float! = 0.5",
        'reference: ID! = "r"',
        'badge: UUID! = "00000000-0000-0000-0000-000000000007"',
        'price: Decimal! = "0.50"',
        'day: Date! = "2026-01-31"',
        'moment: DateTime! = "2026-01-31T12:00:00+00:00"',
        'clock: Time! = "12:30:00"',
        "tone: Tone! = WARM",
        "many: [Int!]! = [1, 2]",
        "few: [Tone!]! = [FORMAL]",
        "maybe: Int = null",
        "nested: [[Int!]!] = null",
        "free: JSON,",
        "anything: JSON = null",
        "huge: Int)",
        '"""How often."""\n    times: Int! = 1',
        '"""\n  Greet somebody.\n\n  Returns: What was said.\n  """',
        '"""As on the envelope."""\n  fullName: String!',
        '"""How it sounds."""\nenum Tone {',
        "bornOn: Date = null",
        "tags: [String!]! = []",
        "badge: UUID\n",
    ):
        assert line in guarded.sdl, line


async def test_the_whole_schema_can_be_asked_for_with_its_defaults(face: Any) -> None:
    data = await face.data(get_introspection_query(descriptions=True, input_value_deprecation=True))
    fields = next(each for each in data["__schema"]["types"] if each["name"] == "Query")["fields"]
    defaults = {
        each["name"]: each["defaultValue"] for each in next(f for f in fields if f["name"] == "see")["args"]
    }
    assert defaults["tone"] == "WARM"
    assert defaults["free"] is None
    assert defaults["many"] == "[1, 2]"


def test_every_example_is_a_valid_operation(guarded: Any, catalogue: Catalogue) -> None:
    for each in catalogue:
        presentation = guarded.presentations[each.name]
        assert validate(guarded.core, parse(presentation.example)) == []
        assert presentation.signature.startswith(each.field_name)
    assert guarded.presentations["greet"].example.startswith('query { greet(recipient: {fullName: "text"}) {')
    assert guarded.presentations["report"].signature == (
        "report: String @requiresKey(scopes: [READ_REPORTS]) @cost(weight: 1)"
        ' @deprecated(reason: "Use echo.")'
    )


class Ordered(Enum):
    """Two things that look alike."""

    FIRST = 1
    SECOND = 2


@dataclass
class Everything:
    """Every kind of field, in and out."""

    number: int
    ratio: float
    label: str
    is_on: bool
    key: ID
    badge: UUID
    price: Decimal
    day: date
    moment: datetime
    clock: time
    kind: Ordered
    items: list[str]
    pairs: tuple[int, ...]
    parts: Optional[list[Optional[int]]]  # noqa: UP045 - authors write it
    free: dict[str, Any]
    child: ChildOf
    made: list[int] = field(default_factory=list)
    inner: str = field(default="kept", init=False)


@dataclass
class ChildOf:
    """A part."""

    class_: str = "c"


@action
async def mirror(value: Everything) -> Everything:
    """Return it."""
    return value


async def test_a_dataclass_goes_in_and_comes_out_as_it_was() -> None:
    schema = build_schema(Catalogue([define(mirror)]))
    assert 'class: String! = "c"' in schema.sdl
    value = {
        "number": -5,
        "ratio": 1.5,
        "label": "x",
        "isOn": True,
        "key": "k",
        "badge": str(UUID(int=5)),
        "price": "1.10",
        "day": "2026-01-01",
        "moment": "2026-01-01T00:00:00+00:00",
        "clock": "01:02:03",
        "kind": "SECOND",
        "items": ["a"],
        "pairs": [1, 2],
        "parts": [1, None],
        "free": {"x": 1},
        "child": {"class": "d"},
        "made": [7],
    }
    found = schema.core.query_type
    assert found is not None
    coerced = coerce_input_value(value, found.fields["mirror"].args["value"].type)
    arguments = arguments_reader(define(mirror).parameters)({"value": coerced})
    caller = Caller("acc_1", None, "", frozenset(), False, "req_1", {})
    read: Any = await define(mirror).invoke(arguments, caller)
    assert type(read) is Everything
    assert type(read.child) is ChildOf
    assert (read.pairs, read.parts, read.kind, read.inner) == ((1, 2), [1, None], Ordered.SECOND, "kept")
    assert read.moment == datetime(2026, 1, 1, tzinfo=UTC)


class Plan(Enum):
    A = 1


@dataclass
class FooInput:
    x: int = 0


@dataclass
class Foo:
    x: int = 0


Float = Enum("Float", {"A": 1})


def takes_plan(plan: Plan) -> str:
    return ""


def gives_foo_input(foo: Foo) -> FooInput:
    return FooInput()


def both_ways(foo: FooInput) -> FooInput:
    return foo


def takes_float(value: Float) -> str:  # type: ignore[valid-type]
    return ""


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (takes_plan, "Plan is a type of the server itself; rename the class."),
        (takes_float, "Float is a type of the server itself; rename the class."),
        (gives_foo_input, "would both be the type FooInput; rename one, as clients see no modules."),
        (both_ways, "would both be FooInput for clients; rename one."),
    ],
)
def test_a_name_that_clashes_stops_the_start(function: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as stopped:
        build_schema(Catalogue([define(action(function))]))
    assert stopped.value.message.endswith(sentence)
    assert "test_types." in stopped.value.message


def test_an_action_that_would_hide_a_field_of_the_server_stops_the_start() -> None:
    @strawberry.type(name="Query")
    class Root(Queries):
        @strawberry.field(directives=[Public()])
        def mirror(self) -> str:
            return ""

    with pytest.raises(ConfigurationError) as stopped:
        build_schema(Catalogue([define(mirror)]), query=Root)
    assert stopped.value.message == "Query.mirror is a field of the server itself; rename the action."


@pytest.mark.parametrize(
    ("scalar", "value", "written"),
    [
        (DATE, datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31"),
        (DATE, date(2026, 1, 31), "2026-01-31"),
        (DATE_TIME, datetime(2026, 1, 31, 12), "2026-01-31T12:00:00+00:00"),
        (TIME, time(1, 2), "01:02:00"),
        (DECIMAL, Decimal("1E+3"), "1E+3"),
        (BIG_INT, 2**63 - 1, 2**63 - 1),
    ],
)
def test_a_scalar_is_written_in_one_form(scalar: GraphQLScalarType, value: Any, written: Any) -> None:
    assert scalar.coerce_output_value(value) == written


@pytest.mark.parametrize(
    ("scalar", "value"),
    [(DATE, "2026-01-31"), (DATE_TIME, date(2026, 1, 31)), (DECIMAL, 1.5), (BIG_INT, 2**63), (BIG_INT, True)],
)
def test_a_scalar_of_the_wrong_type_is_not_written(scalar: GraphQLScalarType, value: Any) -> None:
    with pytest.raises(GraphQLError):
        scalar.coerce_output_value(value)


@dataclass
class Options:
    """Options with a default within a default."""

    depth: int | None = None
    ratio: float = 1.5
    limit: float = float("inf")


def test_a_default_that_no_literal_can_say_makes_the_member_optional() -> None:
    async def tune(
        options: Options | None = None, ratios: tuple[float, ...] = (1.0,), one: float = float("inf")
    ) -> str:
        return ""

    sdl = build_schema(Catalogue([define(action(tune))])).sdl
    assert "tune(options: OptionsInput = null, ratios: [Float!]! = [1], one: Float): String" in sdl
    assert "  depth: Int = null\n  ratio: Float! = 1.5\n  limit: Float\n" in sdl

    async def shown(maybe: int | None = 7, options: Options = Options(2, 0.5, 1.0)) -> str:  # noqa: B008
        return ""

    sdl = build_schema(Catalogue([define(action(shown))])).sdl
    assert "shown(maybe: Int = 7, options: OptionsInput! = { depth: 2, ratio: 0.5, limit: 1 }): String" in sdl


def test_a_class_used_in_and_out_keeps_one_name_each_way() -> None:
    async def turn(foo: Foo) -> Foo:
        return foo

    sdl = build_schema(Catalogue([define(action(turn))])).sdl
    assert "turn(foo: FooInput!): Foo" in sdl


async def test_a_float_beyond_all_floats_is_bad_input(face: Any, seen: list[Any]) -> None:
    reply = await face.post("{ see(real: 1" + "0" * 400 + ") ping }")
    assert reply.json()["data"] == {"see": None, "ping": "pong"}
    assert reply.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert (seen, face.guard.settled) == ([], [[False, True]])
