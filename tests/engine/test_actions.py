from __future__ import annotations

import asyncio
import contextvars
import functools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import api_factory
from api_factory import ID, ActionError, Caller, action, errors
from api_factory.actions import (
    MISSING,
    SERVER_CODES,
    ActionDefinitionError,
    Parameter,
    camel_case,
    define,
    fields_of,
    types_in,
)
from api_factory.actions.defaults import conforms
from api_factory.actions.docstrings import docstring_of, parse_docstring
from api_factory.actions.hints import Hint
from api_factory.actions.threads import THREADS_MAX
from api_factory.rates import Rate

if TYPE_CHECKING:
    from fractions import Fraction

CALLER = Caller(
    account_id="acc_1",
    key_id="key_1",
    key_name="ci",
    scopes=frozenset({"RUN_ACTIONS"}),
    livemode=False,
    request_id="req_1",
    metadata={"team": "a"},
)
AccountId = NewType("AccountId", int)
T = TypeVar("T")
language: contextvars.ContextVar[str] = contextvars.ContextVar("language", default="none")


class Colour(Enum):
    RED = 1
    GREEN = 2


class Size(IntEnum):
    SMALL = 1


class Mode(Flag):
    READ = 1
    WRITE = 2


class Empty(Enum):
    pass


class Truth(Enum):
    true = 1


class Größe(Enum):
    KLEIN = 1


@dataclass
class Point:
    """A place.

    Attributes:
        x: To the right.
    """

    x: int
    y: Annotated[float, "Upwards."] = 0.0
    tags: list[str] = field(default_factory=list)
    length: float = field(init=False, default=0.0)


@dataclass(frozen=True)
class Line:
    start: Point
    end: Point | None = None


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Nothing:
    pass


@dataclass
class Hidden:
    _secret: str


@dataclass
class Twins:
    word_count: int
    wordCount: int


@dataclass
class Seeded:
    value: int
    seed: InitVar[int]


@dataclass
class Broken:
    value: Missing  # noqa: F821


@dataclass
class Wrong:
    value: int = "one"  # type: ignore[assignment]


@dataclass
class Page(Generic[T]):
    items: list[T]


@dataclass
class WithCaller:
    caller: Caller


class Pair(NamedTuple):
    left: int
    right: int


def defined(function: Callable[..., Any], **options: Hint) -> api_factory.actions.Action:
    return define(action(**options)(function))


# --- what an author writes stays his -----------------------------------------------------------


def test_the_decorator_returns_the_function_unchanged() -> None:
    def shout(text: str) -> str:
        return text.upper()

    assert action(shout) is shout
    assert shout("a") == "A"


def test_a_bare_action_costs_one_unit_on_success_under_run_actions() -> None:
    @action
    async def shout(text: str) -> str:
        return text.upper()

    made = define(shout)

    assert (made.name, made.field_name, made.kind, made.units) == ("shout", "shout", "query", 1)
    assert (made.scope, made.charge, made.public, made.rates) == ("RUN_ACTIONS", "on_success", False, ())
    assert (made.deprecation_reason, made.caller_parameter, made.is_async) == (None, None, True)
    assert made.function is shout


def test_every_option_reaches_the_action() -> None:
    def f(text: str) -> str:
        return text

    made = defined(
        f,
        units=5,
        scope="READ_BOOKS",
        rate="600/minute;10/second",
        charge="on_success",
        kind="mutation",
        name="read_book",
        deprecated="Use read_page.",
    )

    assert (made.name, made.field_name, made.kind, made.units) == ("read_book", "readBook", "mutation", 5)
    assert (made.scope, made.charge, made.deprecation_reason) == (
        "READ_BOOKS",
        "on_success",
        "Use read_page.",
    )
    assert made.rates == (Rate(10, 1, "second"), Rate(600, 60, "minute"))
    assert not made.is_async


def test_a_mutation_reserves_and_what_is_free_has_no_units() -> None:
    def write(text: str) -> str:
        return text

    def read(text: str) -> str:
        return text

    assert (defined(write, kind="mutation").charge, define(write).units) == ("reserve", 1)
    assert (defined(read, charge="free", public=True).units, define(read).public) == (0, True)


@pytest.mark.parametrize(
    ("options", "rest"),
    [
        ({"charge": "free", "units": 3}, ": it is free and has units; take units or charge away."),
        (
            {"public": True},
            ': nobody pays for a public action; add charge="free", or take public=True away.',
        ),
        (
            {"public": True, "charge": "free", "scope": "READ_BOOKS"},
            ": it is public and has a scope; take one of them away.",
        ),
        (
            {"units": 0},
            ': units=0 cannot be charged; give a whole number from 1 to 2147483647, or charge="free".',
        ),
        (
            {"units": True},
            ': units=True cannot be charged; give a whole number from 1 to 2147483647, or charge="free".',
        ),
        (
            {"charge": "later"},
            ": charge='later' is unknown; choose one of 'on_success', 'reserve', 'free'.",
        ),
        ({"kind": "subscription"}, ": kind='subscription' is unknown; choose one of 'query', 'mutation'."),
        (
            {"scope": "read books"},
            ": 'read books' cannot be a scope; write it in capitals, like READ_REPORTS.",
        ),
        (
            {"scope": "MANAGE_KEYS"},
            ": MANAGE_KEYS opens the server's own fields; use RUN_ACTIONS or a name of your own.",
        ),
        (
            {"name": "ReadBook"},
            ": 'ReadBook' cannot be the name of an action; give one like name=\"word_count\".",
        ),
        ({"deprecated": " "}, ": deprecated is empty; say what to use instead."),
        (
            {"rate": "fast"},
            ', rate: \'fast\' is not a rate; write it as "10/second;600/minute" or "100 per 5 minute".',
        ),
    ],
)
def test_a_wrong_option_is_refused_where_it_stands(options: dict[str, Any], rest: str) -> None:
    def f(text: str) -> str:
        return text

    with pytest.raises(ActionDefinitionError) as refusal:
        action(**options)(f)

    assert refusal.value.message == f"{f.__module__}.{f.__qualname__}{rest}"
    assert not hasattr(f, "__api_factory_action__")


def test_only_a_function_can_be_an_action_and_only_once() -> None:
    with pytest.raises(ActionDefinitionError) as refusal:
        action(Point)
    assert refusal.value.message == "Point: it is not a function; put @action on a function made with def."

    with pytest.raises(ActionDefinitionError, match="it is marked twice; keep one @action"):

        @action
        @action(units=2)
        def f(text: str) -> str:
            return text


def test_importing_the_public_names_imports_no_face_and_no_database() -> None:
    script = (
        "import sys, api_factory; assert 'limits' not in sys.modules; "
        "from api_factory import action, ActionError, Caller, ID; "
        "print({'piccolo', 'strawberry', 'starlette', 'asyncpg', 'stripe'} & set(sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"


def test_the_package_has_a_version_and_only_its_public_names() -> None:
    assert api_factory.__version__[0].isdigit()
    assert api_factory.action is action
    with pytest.raises(AttributeError, match="no attribute 'actionn'"):
        getattr(api_factory, "actionn")  # noqa: B009 - mypy would refuse the plain access


# --- what a signature says ----------------------------------------------------------------------


async def measure(
    text: str,
    unit: Annotated[str, "Of length."] = "mm",
    colour: Colour = Colour.RED,
    points: list[Point] | None = None,
    *,
    user: Caller,
) -> Line | None:
    """Measure a text.

    It is *exact*:

    - one
    - two

    Args:
        text: What to measure,
            however long.
        unit (str): Overruled by the annotation.
        colour:

    Returns:
        The line, or null.

    Raises:
        ActionError: Never.
    """
    return Line(Point(len(text))) if points is None and user.livemode else None


def test_a_signature_and_its_docstring_become_parameters_with_help() -> None:
    made = defined(measure)

    assert made.parameters == (
        Parameter("text", str, MISSING, None, "What to measure, however long."),
        Parameter("unit", str, "mm", None, "Of length."),
        Parameter("colour", Colour, Colour.RED, None, None),
        Parameter("points", Optional[list[Point]], None, None, None),  # noqa: UP045
    )
    assert [each.is_required for each in made.parameters] == [True, False, False, False]
    assert made.description == "Measure a text.\n\nIt is *exact*:\n\n- one\n- two"
    assert made.returns == Optional[Line]  # noqa: UP045
    assert made.returns_description == "The line, or null."
    assert made.caller_parameter == "user"
    assert made.signature == (
        "measure(text: str, unit: str = 'mm', colour: Colour = <Colour.RED: 1>, "
        "points: list[Point] | None = None) -> Line | None"
    )


ACCEPTED: list[tuple[Any, Any, str]] = [
    (int, int, "int"),
    (ID, ID, "ID"),
    (ID | None, Optional[ID], "ID | None"),  # noqa: UP045
    (UUID, UUID, "UUID"),
    (date, date, "date"),
    (datetime, datetime, "datetime"),
    (time, time, "time"),
    (Decimal, Decimal, "Decimal"),
    (AccountId, int, "int"),
    (Annotated[list[Annotated[str, "a"]], "b"], list[str], "list[str]"),
    (Optional[Annotated[str, "a"]], Optional[str], "str | None"),  # noqa: UP045
    (tuple[int, ...], tuple[int, ...], "tuple[int, ...]"),
    (set[Colour], set[Colour], "set[Colour]"),
    (set[int | None], set[Optional[int]], "set[int | None]"),  # noqa: UP045
    (set[tuple[int, ...]], set[tuple[int, ...]], "set[tuple[int, ...]]"),
    (frozenset[Size], frozenset[Size], "frozenset[Size]"),
    (dict, dict, "dict"),
    (Any, Any, "Any"),
    (list[Any], list[Any], "list[Any]"),
    (dict[str, Any], dict[str, Any], "dict[str, Any]"),
    (dict[str, list[int | None]], dict[str, list[int | None]], "dict[str, list[int | None]]"),
    (dict[str, int | str], dict[str, int | str], "dict[str, int | str]"),
    (Point, Point, "Point"),
]


@pytest.mark.parametrize(("written", "resolved", "text"), ACCEPTED)
def test_a_type_is_resolved_to_what_the_faces_show(written: Hint, resolved: Hint, text: str) -> None:
    def f(value: Hint) -> Hint:
        return value

    f.__annotations__ = {"value": written, "return": written}
    made = defined(f)

    assert made.parameters[0].annotation == made.returns == resolved
    assert made.signature == f"f(value: {text}) -> {text}"


REFUSED: list[tuple[Any, str]] = [
    (object, ": object says nothing about the value; write the type, or Any for free JSON."),
    (None, ": None alone is no value; name a type a client can use, such as bool."),
    (
        int | str,
        ": int | str can be several types; "
        "take one type, or a dataclass with an optional field for each case.",
    ),
    (
        int | str | None,
        ": int | str | None can be several types; "
        "take one type, or a dataclass with an optional field for each case.",
    ),
    (list, ": list does not say what it holds; write list[str]."),
    (tuple, ": tuple does not say what it holds; write tuple[str, ...]."),
    (
        tuple[int, str],
        ": tuple[int, str] has places without names; "
        "write tuple[str, ...], or a dataclass with a name for each place.",
    ),
    (set[Point], ": Point cannot be in a set; write list[...] instead."),
    (set[list[int]], ": list[int] cannot be in a set; write list[...] instead."),
    (set[dict], ": dict cannot be in a set; write list[...] instead."),
    (frozenset[Any], ": Any cannot be in a set; write list[...] instead."),
    (dict[int, str], ": dict[int, str] has keys that JSON does not know; use str for the keys."),
    (
        dict[str, list[Decimal]],
        ": Decimal in a dict would travel as untyped JSON; "
        "use dict[str, Any], or a dataclass so that clients see its fields.",
    ),
    (bytes, ": bytes is not known to the API; make it a dataclass, or use a plain type."),
    (Pair, ": Pair is not known to the API; make it a dataclass, or use a plain type."),
    (
        Callable[[int], int],
        ": collections.abc.Callable[[int], int] is not known to the API; "
        "use a plain type, list[...], X | None, an Enum or a dataclass.",
    ),
    (Literal["a", "b"], ": Literal['a', 'b'] has no name in the API; use an Enum."),
    (
        Annotated[int, range(3)],
        ": nothing enforces range(0, 3) in Annotated; "
        "check the value in the function and raise ActionError; Annotated may hold a description.",
    ),
    (Mode, ": Mode is a Flag; use an Enum and take a list of it."),
    (Empty, ": Empty has no members; add one."),
    (Truth, ": 'true' cannot be a name in GraphQL; use ASCII letters, digits and _."),
    (Größe, ": 'Größe' cannot be a name in GraphQL; use ASCII letters, digits and _."),
    (Nothing, ": Nothing has no fields; add one, or return a plain type."),
    (
        Hidden,
        ": '_secret' in Hidden cannot be a name in the API; "
        "start it with an ASCII letter and use letters, digits and _.",
    ),
    (Twins, ": Twins.word_count and wordCount are one name in camelCase; rename one."),
    (
        Broken,
        ": an annotation of Broken cannot be read (name 'Missing' is not defined); "
        f"import the name in {__name__} outside of TYPE_CHECKING, or define it at module level.",
    ),
    (
        Page[int],
        f": {__name__}.Page[int] is not known to the API; "
        "use a plain type, list[...], X | None, an Enum or a dataclass.",
    ),
    (
        list[Caller],
        ": Caller is given by the server and can be no part of a value; "
        "annotate one parameter of the function itself with Caller.",
    ),
    (
        WithCaller,
        " (field WithCaller.caller): Caller is given by the server and can be no part of a value; "
        "annotate one parameter of the function itself with Caller.",
    ),
    (
        Tree,
        " (field Tree.children): Tree contains itself, so it has no largest size; "
        "give ids and a flat list, or Any for a tree as JSON.",
    ),
    (Wrong, " (field Wrong.value): the default 'one' is not of type int; give one that is: int."),
]


@pytest.mark.parametrize(("written", "rest"), REFUSED)
def test_a_type_no_client_could_be_told_about_is_refused(written: Hint, rest: str) -> None:
    def taking(value: Hint) -> str:
        return str(value)

    def giving() -> Hint:
        return None

    taking.__annotations__["value"] = written
    giving.__annotations__["return"] = written
    here = f"{__name__}.test_a_type_no_client_could_be_told_about_is_refused.<locals>"

    with pytest.raises(ActionDefinitionError) as refusal:
        defined(taking)
    assert refusal.value.message == f"{here}.taking, parameter 'value'{rest}"

    with pytest.raises(ActionDefinitionError) as refusal:
        defined(giving)
    assert refusal.value.message == f"{here}.giving, the return value{rest}"


def test_a_dataclass_whose_constructor_is_not_its_fields_can_be_given_but_not_taken() -> None:
    def giving() -> Seeded:
        return Seeded(1, 2)

    def taking(value: Seeded) -> int:
        return value.value

    assert defined(giving).returns is Seeded
    with pytest.raises(
        ActionDefinitionError, match="Seeded cannot be made from its fields; take a dataclass"
    ):
        defined(taking)


def missing_annotation(text) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return str(text)


def missing_return(text: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return text


def star(*texts: str) -> str:
    return "".join(texts)


def double_star(**texts: str) -> str:
    return "".join(texts)


def positional(text: str, /) -> str:
    return text


def two_callers(one: Caller, two: Caller) -> str:
    return one.key_name + two.key_name


def twin_names(word_count: int, wordCount: int) -> int:
    return word_count + wordCount


def foreign_letter(größe: int) -> int:
    return größe


def private_name(_text: str) -> str:
    return _text


def wrong_default(limit: int = None) -> int:  # type: ignore[assignment]  # noqa: RUF013
    return limit


def under_type_checking(value: Fraction) -> str:
    return str(value)


def generator(text: str) -> Iterator[str]:
    yield text


async def stream(text: str) -> AsyncIterator[str]:
    yield text


@pytest.mark.parametrize(
    ("function", "rest"),
    [
        (missing_annotation, ", parameter 'text': it has no annotation; write text: TYPE."),
        (missing_return, ", the return value: it has no annotation; write -> and the type that is returned."),
        (
            star,
            ", parameter 'texts': clients give every argument by its name; "
            "write texts: TYPE, with no * or /.",
        ),
        (
            double_star,
            ", parameter 'texts': clients give every argument by its name; "
            "write texts: TYPE, with no * or /.",
        ),
        (
            positional,
            ", parameter 'text': clients give every argument by its name; write text: TYPE, with no * or /.",
        ),
        (two_callers, ": 'one' and 'two' are both the Caller; keep one."),
        (twin_names, ": 'word_count' and 'wordCount' are one name in camelCase; rename one."),
        (
            foreign_letter,
            ", parameter 'größe': its name cannot be one in the API; use ASCII letters, digits and _.",
        ),
        (
            private_name,
            ", parameter '_text': its name cannot be one in the API; use ASCII letters, digits and _.",
        ),
        (
            wrong_default,
            ", parameter 'limit': the default None is not of type int; annotate it as int | None.",
        ),
        (
            under_type_checking,
            ": an annotation cannot be read (name 'Fraction' is not defined); "
            "import the name outside of TYPE_CHECKING, or define it at module level.",
        ),
        (generator, ": it yields; return a list."),
        (stream, ": it yields; return a list."),
    ],
)
def test_a_signature_that_is_ambiguous_is_refused(function: Callable[..., Any], rest: str) -> None:
    copy = functools.update_wrapper(
        type(function)(function.__code__, function.__globals__), function, updated=()
    )
    copy.__defaults__ = function.__defaults__
    del copy.__wrapped__

    with pytest.raises(ActionDefinitionError) as refusal:
        defined(copy)

    assert refusal.value.message == f"{__name__}.{function.__name__}{rest}"


def test_a_wrapped_action_keeps_its_declaration_and_signature() -> None:
    @action(units=3)
    async def inner(text: str) -> str:
        return text

    @functools.wraps(inner)
    async def outer(*args: str, **kwargs: str) -> str:
        return await inner(*args, **kwargs)

    made = define(outer)

    assert (made.units, made.signature, made.function) == (3, "inner(text: str) -> str", outer)


# --- dataclasses --------------------------------------------------------------------------------


def test_the_fields_of_a_dataclass_have_types_defaults_and_help() -> None:
    assert fields_of(Point) == (
        Parameter("x", int, MISSING, None, "To the right."),
        Parameter("y", float, 0.0, None, "Upwards."),
        Parameter("tags", list[str], MISSING, list, None),
        Parameter("length", float, 0.0, None, None),
    )
    assert [each.name for each in fields_of(Point, is_input=True)] == ["x", "y", "tags"]
    assert [each.is_required for each in fields_of(Point)] == [True, False, False, False]


def test_every_class_inside_a_type_is_found() -> None:
    assert set(types_in(dict[str, Any])) == set()
    assert list(types_in(list[Optional[Line]])) == [Line, Point, Point]  # noqa: UP045
    assert list(types_in(tuple[Colour, ...])) == [Colour]


# --- docstrings and names -----------------------------------------------------------------------


def test_a_generated_docstring_says_nothing() -> None:
    assert docstring_of(Line).head is None
    assert docstring_of(Point).head == "A place."
    assert docstring_of(Point).entries == {"x": "To the right."}


def test_text_before_the_first_argument_is_no_argument() -> None:
    said = parse_docstring("Do.\n\nArgs:\n    All of these matter.\n    a: One.\n\n        Two.\n")

    assert said.entries == {"a": "One.\n\nTwo."}


@given(st.text())
def test_any_docstring_is_read(text: str) -> None:
    parse_docstring(text)
    parse_docstring(f"Head.\n\nArgs:\n    {text}")


@pytest.mark.parametrize(
    ("python", "graphql"),
    [("ping", "ping"), ("word_count", "wordCount"), ("from_", "from"), ("a_1_b", "a1B"), ("aB_cD", "aBCD")],
)
def test_names_become_camel_case(python: str, graphql: str) -> None:
    assert camel_case(python) == graphql
    assert Parameter(python, str, MISSING).field_name == graphql


# --- defaults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "annotation", "is_right"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        (True, float, False),
        ("a", ID, True),
        (None, Optional[int], True),  # noqa: UP045
        ("a", Optional[int], False),  # noqa: UP045
        ([1], list[int], True),
        (["a"], list[int], False),
        ((1,), list[int], False),
        ((1,), tuple[int, ...], True),
        ({"a": [1, None, {"b": 1.5}]}, dict[str, Any], True),
        ({1: 2}, dict, False),
        ([1], dict, False),
        ([1], Any, True),
        (Decimal(1), Any, False),
        (datetime(2024, 1, 1, tzinfo=UTC), date, False),
        (Colour.RED, Colour, True),
        (1, Colour, False),
        (Point(1), Point, True),
    ],
)
def test_a_default_must_be_of_its_type(value: object, annotation: Hint, is_right: bool) -> None:
    assert conforms(value, annotation) is is_right


@dataclass(frozen=True)
class Wrong:
    """Accepts at run time what its annotations refuse."""

    count: int
    names: list[str] = field(default_factory=lambda: 5)  # type: ignore[arg-type,return-value]


@dataclass(frozen=True)
class Failing:
    """Cannot make its default."""

    names: list[str] = field(default_factory=lambda: [{}["x"]])  # type: ignore[list-item]


def wrong_field(place: Point = Point("x")) -> str:  # type: ignore[arg-type]  # noqa: B008
    return ""


def wrong_inside(lines: tuple[Line, ...] = (Line(Point("x")),)) -> str:  # type: ignore[arg-type]
    return ""


def wrong_factory(value: Wrong) -> str:
    return ""


def failing_factory(value: Failing) -> str:
    return ""


def surrogate(text: str = "\ud800") -> str:
    return ""


def surrogate_in_json(text: dict[str, Any] = {"a": ["\ud800"]}) -> str:  # noqa: B006
    return ""


def surrogate_in_description(text: Annotated[str, "\ud800"]) -> str:
    return ""


def surrogate_in_docstring() -> str:
    return ""


surrogate_in_docstring.__doc__ = "\ud800"


@pytest.mark.parametrize(
    ("function", "rest"),
    [
        (
            wrong_field,
            ", parameter 'place': the default Point(x='x', y=0.0, tags=[], length=0.0) has fields of another"
            " type; give every field of Point a value of its type.",
        ),
        (
            wrong_inside,
            "has fields of another type; give every field of tuple[Line, ...] a value of its type.",
        ),
        (
            wrong_factory,
            ", parameter 'value' (field Wrong.names): the default 5 is not of type list[str];"
            " give one that is: list[str].",
        ),
        (
            failing_factory,
            ", parameter 'value' (field Failing.names): its default_factory fails (KeyError: 'x');"
            " correct it; it takes nothing and returns the default.",
        ),
        (
            surrogate,
            ", parameter 'text': the default '\\ud800' is not valid Unicode;"
            " take the lone surrogate out of it.",
        ),
        (surrogate_in_json, "is not of type dict[str, Any]; give one that is: dict[str, Any]."),
        (
            surrogate_in_description,
            ", parameter 'text': its description is not valid Unicode; take the lone surrogate out of it.",
        ),
        (
            surrogate_in_docstring,
            ": its docstring is not valid Unicode; take the lone surrogate out of it.",
        ),
    ],
)
def test_what_the_schema_could_not_show_is_refused_with_a_sentence(
    function: Callable[..., Any], rest: str
) -> None:
    with pytest.raises(ActionDefinitionError) as refusal:
        defined(function)

    assert refusal.value.message.startswith(f"{__name__}.{function.__name__}, ".removesuffix(", "))
    assert refusal.value.message.endswith(rest)


def test_a_method_is_no_action() -> None:
    with pytest.raises(ActionDefinitionError) as refusal:

        class Shop:
            @action
            def open(self) -> str:
                return ""

    assert refusal.value.message.endswith(
        ".Shop.open: it is a method of test_a_method_is_no_action.<locals>.Shop;"
        " write the action as a function of its own, outside of any class."
    )


# --- errors -------------------------------------------------------------------------------------


def test_a_refusal_counts_in_words() -> None:
    one, two = (
        errors.QuotaExceeded(units=units, limit=5, used=5, reset_seconds=9).message for units in (1, 2)
    )
    assert one.startswith("This call needs 1 unit and the account's quota has 0 of 5 left;")
    assert two.startswith("This call needs 2 units and ")
    assert errors.ScopeMissing(frozenset({"B"})).message == (
        "The API key lacks the scope B; use a key that holds it."
    )
    assert errors.ScopeMissing(frozenset({"B", "C", "A"})).message == (
        "The API key lacks the scopes A, B and C; use a key that holds them."
    )
    assert errors.CostLimitExceeded(cost=20, maximum=10, policy="second").message == (
        "The operation counts as 20 calls and the limit second allows 10 at most; split it into smaller ones."
    )
    assert errors.CostLimitExceeded(cost=20, maximum=10).message == (
        "The operation costs 20 and the maximum is 10; split it into smaller ones."
    )


def test_an_action_error_carries_message_code_and_extensions() -> None:
    error = ActionError("The text is empty.", "TEXT_EMPTY", maximum=3)

    assert (error.message, error.code, error.extensions) == (
        "The text is empty.",
        "TEXT_EMPTY",
        {"maximum": 3},
    )
    assert str(error) == "The text is empty."
    assert ActionError("No.").code == "ACTION_FAILED"


@pytest.mark.parametrize("code", ["", "lower", "A-B", "_A", "A_", "A__B", "1A", "A\n"])
def test_a_code_is_upper_snake(code: str) -> None:
    with pytest.raises(ValueError, match="is not an error code; write it like TEXT_TOO_LONG"):
        ActionError("No.", code)


def test_every_code_of_the_server_is_refused_to_actions() -> None:
    def codes_of(kind: type[errors.ApiFactoryError]) -> set[str]:
        return {kind.code}.union(*map(codes_of, kind.__subclasses__()))

    assert codes_of(errors.ApiFactoryError) <= SERVER_CODES
    for code in SERVER_CODES:
        with pytest.raises(ValueError, match=f"choose one of your own, like DOCUMENT_{code}"):
            ActionError("No.", code)


# --- calls --------------------------------------------------------------------------------------


async def test_an_async_action_runs_in_the_loop_with_the_caller_injected() -> None:
    async def whoami(greeting: str, who: Caller) -> str:
        return f"{greeting} {who.account_id} {threading.current_thread() is threading.main_thread()}"

    made = defined(whoami)

    assert [each.name for each in made.parameters] == ["greeting"]
    assert await made.invoke({"greeting": "hi"}, CALLER) == "hi acc_1 True"


async def test_a_sync_action_runs_in_a_thread_and_keeps_its_context() -> None:
    def where() -> tuple[str, ...]:
        return str(threading.current_thread() is threading.main_thread()), language.get()

    language.set("en")

    assert await defined(where).invoke({}, CALLER) == ("False", "en")


async def test_a_sync_function_may_return_an_awaitable() -> None:
    def later(value: int) -> int:
        return asyncio.sleep(0, value)  # type: ignore[return-value]

    assert await defined(later).invoke({"value": 4}, CALLER) == 4


@pytest.mark.parametrize("error", [ActionError("No.", "REFUSED"), KeyError("x")])
async def test_what_an_action_raises_comes_out_unchanged(error: Exception) -> None:
    def in_thread() -> str:
        raise error

    async def in_loop() -> str:
        raise error

    for function in (in_thread, in_loop):
        with pytest.raises(type(error)) as raised:
            await defined(function).invoke({}, CALLER)
        assert raised.value is error


async def test_a_sync_action_that_raises_stop_iteration_fails_and_does_not_hang() -> None:
    def exhausted() -> str:
        return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(defined(exhausted).invoke({}, CALLER), 5)


async def test_a_hung_sync_action_keeps_its_place_until_it_has_ended() -> None:
    started, end = threading.Semaphore(0), threading.Event()
    running: list[int] = []

    def hang() -> str:
        running.append(1)
        started.release()
        end.wait(30)
        return "late"

    def quick() -> str:
        return "quick"

    def threads() -> int:
        return sum(each.name == "api-factory-action" for each in threading.enumerate())

    made, quickly = defined(hang), defined(quick)
    hung = [asyncio.ensure_future(made.invoke({}, CALLER)) for _ in range(THREADS_MAX + 5)]
    try:
        for _ in range(THREADS_MAX):
            # Everybody else's threads are free meanwhile.
            assert await asyncio.to_thread(started.acquire, timeout=30)
        full = (THREADS_MAX, threads())
        for each in hung:
            each.cancel()
        await asyncio.gather(*hung, return_exceptions=True)
        waiting = [asyncio.ensure_future(quickly.invoke({}, CALLER)) for _ in range(THREADS_MAX)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        assert (len(running), threads()) == full
    finally:
        end.set()
    assert set(await asyncio.gather(*waiting)) == {"quick"}
    assert (len(running), threads()) == full


async def test_a_cancelled_wait_for_a_thread_takes_no_place() -> None:
    def quick() -> str:
        return "quick"

    made = defined(quick)
    for _ in range(THREADS_MAX * 2):
        call = asyncio.ensure_future(made.invoke({}, CALLER))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    assert await asyncio.wait_for(made.invoke({}, CALLER), 30) == "quick"


async def test_invoke_leaves_the_arguments_as_they_were() -> None:
    async def whoami(who: Caller) -> str:
        return who.key_name

    arguments: Mapping[str, object] = {}
    call: Awaitable[object] = defined(whoami).invoke(arguments, CALLER)

    assert await call == "ci"
    assert arguments == {}
