"""What is compiled and what is left to graphql-core, when, and what a program's text may hold."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInt,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    build_schema,
    parse,
)
from graphql.execution import Executor
from hypothesis import given
from hypothesis import strategies as st

from schema.compiler import MAX_PROGRAMS, Compiler, Program, Programs
from schema.compiler.emitter import MAX_FIELDS, attribute_of
from schema.compiler.runtime import MOST_PLAIN_CLASSES, PLAIN, learn
from schema.compiler.source import quoted
from schema.documents import Documents
from tests.schema.compiler.judge import Judge, assert_same_variables, programs_of
from tests.schema.compiler.worlds import Attribute, Run, world
from tests.schema.compiler.writing import variables_for, write

SDL = """
directive @odd on QUERY
interface Node { id: ID }
type A implements Node { id: ID, name(upper: Boolean, words: [String], say: String): String, next: Node }
type B implements Node { id: ID, next: Node }
type Query { a: A, node: Node, text(say: String): String }
"""
SCHEMA = build_schema(SDL)


def _programs(text: str, **options: Any) -> Programs:
    return programs_of(SCHEMA, parse(text), is_on=True, **options)


def _program(programs: Programs, **given_: Any) -> Program | None:
    variables = programs.reader.read(given_)
    assert not isinstance(variables, list), variables
    return programs.program(variables)


@pytest.mark.parametrize(
    "text",
    [
        "{ __schema { queryType { name } } }",
        '{ a { id } __type(name: "A") { name } }',
        "query @odd { a { id } }",
        "{ a { " + " ".join(f"f{number}: id" for number in range(MAX_FIELDS)) + " } }",
        # Each level doubles what there is: two object types answer to one interface.
        "{ node " + "{ next " * 9 + "{ id } " + "}" * 9 + " }",
    ],
)
def test_what_is_not_compiled_is_run_by_graphql_core(text: str) -> None:
    assert _program(_programs(text)) is None


def test_as_many_fields_as_are_allowed_are_compiled() -> None:
    program = _program(_programs("{ a { " + " ".join(f"f{n}: id" for n in range(MAX_FIELDS - 1)) + " } }"))
    assert program is not None
    assert program.fields == MAX_FIELDS


def test_each_outcome_of_the_conditions_has_a_program_until_there_are_eight() -> None:
    declared = ", ".join(f"$c{number}: Boolean!" for number in range(4))
    fields = " ".join(f"f{number}: text @include(if: $c{number})" for number in range(4))
    programs = _programs(f"query({declared}) {{ {fields} }}")
    outcomes = [{f"c{bit}": bool(number >> bit & 1) for bit in range(4)} for number in range(16)]
    first = [_program(programs, **outcome) for outcome in outcomes]
    assert [each is not None for each in first] == [True] * MAX_PROGRAMS + [False] * MAX_PROGRAMS
    again = [_program(programs, **outcome) for outcome in outcomes]
    assert all(one is other for one, other in zip(first, again, strict=True))


def test_null_in_a_condition_is_left_to_graphql_core() -> None:
    programs = _programs("query($on: Boolean = true) { text @include(if: $on) }")
    assert _program(programs, on=None) is None
    assert _program(programs) is not None


def test_a_fragment_of_another_operation_decides_nothing() -> None:
    text = "query A { a { id } } query B($on: Boolean!) { ...F } fragment F on Query { text @skip(if: $on) }"
    assert _program(_programs(text)) is not None


def test_an_operation_is_compiled_when_it_has_run_a_few_times() -> None:
    programs = Compiler(SCHEMA, Executor, 5, runs_before=2).programs(parse("{ text }").definitions[0], {})  # type: ignore[arg-type]
    assert [_program(programs) is not None for _ in range(4)] == [False, False, True, True]
    assert programs.fields == 1
    off = Compiler(SCHEMA, Executor, 5, is_on=False, runs_before=0)
    assert _program(off.programs(parse("{ text }").definitions[0], {})) is None  # type: ignore[arg-type]


def test_the_classes_that_are_remembered_as_plain_are_bounded() -> None:
    before = set(PLAIN)
    kept = [type(f"Class{number}", (), {}) for number in range(MOST_PLAIN_CLASSES + 1)]
    for each in kept:
        learn(each)
    assert len(PLAIN) <= MOST_PLAIN_CLASSES
    assert kept[-1] in PLAIN
    PLAIN.clear()
    PLAIN.update(before)


class _Answers:
    def __getattr__(self, name: str) -> Any:
        return None


class _Awaited:
    def __await__(self) -> Any:
        return iter(())


class _Iterated:
    def __aiter__(self) -> Any:
        return self


@pytest.mark.parametrize(
    "cls", [_Answers, _Awaited, _Iterated, type, ValueError, KeyboardInterrupt, type(None)]
)
def test_what_could_be_more_than_it_is_is_never_plain(cls: type) -> None:
    learn(cls)
    assert cls not in PLAIN


def test_a_document_is_counted_again_when_it_has_grown_a_program() -> None:
    documents = Documents(SCHEMA, max_bytes=30_000)
    document = documents.read("{ text }")
    documents.keep(document)
    small = documents.size_bytes
    programs = document.programs[None] = _programs("{ text }")
    assert _program(programs) is not None
    documents.keep(document)
    assert documents.size_bytes == document.size_bytes == small + programs.size_bytes
    documents.keep(document)
    assert (len(documents), documents.size_bytes) == (1, document.size_bytes)
    # One that has grown beyond what may be kept is forgotten, and all that was counted of it.
    programs.fields = 100
    documents.keep(document)
    assert (len(documents), documents.size_bytes) == (0, 0)


def test_a_document_that_was_forgotten_and_read_anew_is_not_counted_twice() -> None:
    documents = Documents(SCHEMA)
    old, new = documents.read("{ text }"), documents.read("{ text }")
    documents.keep(new)
    old.programs[None] = _programs("{ text }")
    old.programs[None].fields = 5
    documents.keep(old)
    assert documents.read("{ text }") is new
    assert documents.size_bytes == new.size_bytes


# --- the text -----------------------------------------------------------------------------------------

HOSTILE = st.text(alphabet="\"'\\\n\r{}()[]#;$%\0\u2028\ud7ff", max_size=12).map(
    lambda text: f"_OWNED_{text}_OWNED_"
)


NAMED = st.from_regex(r"[_A-Za-z][_0-9A-Za-z]{0,200}", fullmatch=True)


@given(HOSTILE, NAMED)
def test_a_program_holds_nothing_of_the_client_but_names_in_quotes(hostile: str, name: str) -> None:
    program, other = _text_of(hostile, name), _text_of("_OWNED_", "other")
    assert "OWNED" not in program
    assert f"'{name}'" in program
    assert re.sub("'[^']*'", "''", program) == re.sub("'[^']*'", "''", other)


def _text_of(hostile: str, name: str) -> str:
    # JSON writes a string as GraphQL reads it.
    literal = json.dumps(hostile)
    program = _program(
        _programs(
            f"query($v: String = {literal}, $w: [String]) {{ {name}: a {{"
            f" name(upper: true, words: [{literal}], say: {literal}) id: name(words: $w) }}"
            f" text(say: {literal}) text2: text(say: $v) # _OWNED_\n }}"
        )
    )
    assert program is not None
    return program.text


@pytest.mark.parametrize("name", ["", "a b", "a'", "1a", "é", "a\n", "a-b", "'"])
def test_only_names_are_written_down(name: str) -> None:
    with pytest.raises(ValueError, match="no GraphQL name"):
        quoted(name)


def test_the_values_of_variables_are_no_part_of_a_program() -> None:
    for seed in range(60):
        random, world_ = Random(seed), world(seed, 4)
        written = write(world_.schema, random, "query")
        assert written is not None
        programs = programs_of(world_.schema, written[1], is_on=True)
        texts = set()
        for _ in range(2):
            variables = programs.reader.read(variables_for(world_.schema, written[1], random, 0))
            if not isinstance(variables, list) and (program := programs.program(variables)) is not None:
                texts.add((id(program), program.text))
                assert not any(
                    word in program.text for word in ("import os", "block {value}", "LOUD", "slow'")
                )
        assert len(texts) <= MAX_PROGRAMS


# --- what differed once -------------------------------------------------------------------------------


@pytest.fixture
def judge() -> Iterator[Judge]:
    judge = Judge()
    yield judge
    judge.close()


def _both(judge: Judge, schema: GraphQLSchema, text: str) -> Any:
    document = parse(text)
    observed = [
        judge.observe(programs, assert_same_variables(schema, programs, {}), Run(0, 0))
        for programs in (programs_of(schema, document, is_on=is_on) for is_on in (True, False))
    ]
    assert observed[0] == observed[1]
    return observed[0]


def test_two_arguments_of_one_name_in_python_are_one_as_in_graphql_core(judge: Judge) -> None:
    def resolve(_source: Any, info: Any, **arguments: Any) -> str:
        info.context.log.append(arguments)
        return "text"

    arguments = {name: GraphQLArgument(GraphQLInt, out_name="same") for name in ("one", "two")}
    query = GraphQLObjectType("Query", {"text": GraphQLField(GraphQLString, arguments, resolve=resolve)})
    assert _both(judge, GraphQLSchema(query), "{ text(one: 1, two: 2) }").log == [{"same": 2}]


@pytest.mark.parametrize("name", ["class", "__debug__", "\ufb01eld", "a.b", "a b"])
def test_an_attribute_that_python_would_read_otherwise_is_read_by_its_resolver(name: str) -> None:
    assert attribute_of(GraphQLField(GraphQLString, resolve=Attribute(name))) is None
    assert attribute_of(GraphQLField(GraphQLString, resolve=Attribute("plain"))) == "plain"


def test_a_field_of_strawberrys_with_a_permission_is_not_read_past_it() -> None:
    import strawberry
    from strawberry.permission import BasePermission

    class Never(BasePermission):
        message = "never"

        def has_permission(self, source: Any, info: Any, **_: Any) -> bool:
            return False

    @strawberry.type
    class Query:
        open: str = "open"
        shut: str | None = strawberry.field(default="shut", permission_classes=[Never])

    fields = strawberry.Schema(Query)._schema.query_type.fields  # type: ignore[union-attr]
    assert attribute_of(fields["open"]) == "open"
    assert attribute_of(fields["shut"]) is None


def test_a_coroutine_in_a_coroutine_is_awaited_once(judge: Judge) -> None:
    class Value:
        def __await__(self) -> Any:
            raise AssertionError("awaited")

    async def resolve(_source: Any, _info: Any) -> Any:
        return Value()

    query = GraphQLObjectType("Query", {"whole": GraphQLField(GraphQLInt, resolve=resolve)})
    (error,) = _both(judge, GraphQLSchema(query), "{ whole }").errors
    assert error[0] == "Int cannot represent non-integer value: <Value instance>"


def test_an_error_that_cannot_be_told_ends_a_mutation_as_it_does_in_graphql_core(judge: Judge) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("unspeakable")

    async def resolve(_source: Any, info: Any) -> Any:
        info.context.log.append("ran")
        raise Unspeakable

    field = GraphQLField(GraphQLString, resolve=resolve)
    schema = GraphQLSchema(
        GraphQLObjectType("Query", {"a": field}), GraphQLObjectType("Mutation", {"a": field})
    )
    seen = _both(judge, schema, "mutation { a b: a }")
    assert (seen.raised, seen.log) == ("RuntimeError: ('unspeakable',)", ["ran"])


def test_what_a_resolver_is_told_can_be_copied(judge: Judge) -> None:
    def resolve(_source: Any, info: Any) -> str:
        copied = copy.copy(info)
        return f"{copied.field_name} {copied.path.key} {copied.operation.operation.value}"

    query = GraphQLObjectType("Query", {"text": GraphQLField(GraphQLString, resolve=resolve)})
    seen = _both(judge, GraphQLSchema(query), "{ a: text }")
    assert seen.data == [("a", (str, "'text a query'"))]
