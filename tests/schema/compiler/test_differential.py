"""The compiled executor against graphql-core, over random schemas, documents, variables and resolvers.

Every case is made of a few numbers, which a failure shows. A case is one run of both executors; what is
compared is all that can be seen from outside: the data with the order of its keys, the errors with message,
path, locations, nodes, extensions and cause, the order in which resolvers, type resolvers, scalars and
awaitables began, went on, ended and were cancelled, what went on after the result was there, tasks that
never ended, coroutines that were never awaited, and exceptions that nobody fetched.

`python3 dev.py differential --minutes N` goes on for N minutes from a seed of its own.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from graphql import DocumentNode, parse, print_ast, validate
from graphql.language import (
    EnumValueNode,
    IntValueNode,
    ObjectValueNode,
    StringValueNode,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import from_schema

from tests.schema.compiler.judge import Judge, assert_same_variables, differences, programs_of
from tests.schema.compiler.varying import vary
from tests.schema.compiler.worlds import World, world
from tests.schema.compiler.writing import variables_for, write

RUNS: list[tuple[float, float]] = [(0, 0), (0.03, 0.02), (0.1, 0.05), (0.2, 0.05), (0.4, 0.1), (0.03, 0.4)]
"""How much trouble the resolvers make in each run of a document, and how many variables are wrong."""

SEEDS = st.integers(0, 2**32)
_LONG_RUN_SECONDS = float(os.environ.get("DIFFERENTIAL_MINUTES", "0")) * 60
_ROUNDS_AT_LEAST = 10


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    judge = Judge()
    yield judge
    judge.close()


def compare(judge: Judge, world_: World, document: DocumentNode, seed: int, known: Any = None) -> int:
    """Run a document several times, each time twice; return how many runs were compiled."""
    random, compiled_runs = Random(seed), 0
    compiled = programs_of(world_.schema, document, is_on=True)
    core = programs_of(world_.schema, document, is_on=False)
    for number, (trouble, wrong) in enumerate(RUNS):
        given_ = known or variables_for(world_.schema, document, random, wrong)
        variables = assert_same_variables(world_.schema, compiled, given_)
        if variables is None:
            continue
        found, expected = differences(judge, world_, compiled, core, variables, (seed + number, trouble))
        assert found == expected, f"run {number} of {world_}\n{print_ast(document)}\n{given_}"
        compiled_runs += compiled.program(variables) is not None
    return compiled_runs


def check(judge: Judge, schema: int, size: int, seed: int) -> int:
    """Write a document over a schema and compare its runs; return how many were compiled."""
    random, world_ = Random(seed), world(schema, size)
    written = write(world_.schema, random, random.choice(("query", "query", "mutation")))
    return 0 if written is None else compare(judge, world_, written[1], seed)


@settings(max_examples=400)
@given(schema=st.integers(0, 10_000), size=st.integers(1, 7), seed=SEEDS)
def test_a_program_does_what_graphql_core_does(judge: Judge, schema: int, size: int, seed: int) -> None:
    check(judge, schema, size, seed)


def test_most_cases_are_compiled(judge: Judge) -> None:
    """Otherwise the test above would compare graphql-core with itself."""
    compiled = [check(judge, seed, 4, seed) for seed in range(30)]
    assert sum(compiled) > 70


_SCALARS: Any = {
    name: st.sampled_from(
        [
            StringValueNode(value="text"),
            StringValueNode(value="bad"),
            IntValueNode(value="5"),
            EnumValueNode(value="LOUD"),
            ObjectValueNode(fields=()),
        ]
    )
    for name in ("Free", "Fussy", "Slow")
}


@settings(max_examples=60)
@given(data=st.data(), schema=st.integers(0, 9), seed=SEEDS)
def test_documents_of_another_hand_are_run_the_same(
    judge: Judge, data: st.DataObject, schema: int, seed: int
) -> None:
    """hypothesis-graphql writes the document; then literals become variables, and fields are moved about.

    It needs a while to get to know a schema, and cannot write for all of them, so there are ten.
    """
    world_ = world(schema, 1 + schema % 5)
    text = data.draw(from_schema(world_.schema, custom_scalars=_SCALARS))
    document = parse(text)
    assume(not validate(world_.schema, document))
    compare(judge, world_, document, seed)
    varied, variables = vary(world_.schema, document, Random(seed))
    assume(not validate(world_.schema, varied))
    compare(judge, world_, varied, seed, variables)


def test_the_long_run(judge: Judge) -> None:
    """As long as DIFFERENTIAL_MINUTES says; without it, a moment."""
    start, rounds = secrets.randbelow(2**40), 0
    deadline = time.monotonic() + _LONG_RUN_SECONDS
    while rounds < _ROUNDS_AT_LEAST or time.monotonic() < deadline:
        seed = start + rounds
        try:
            check(judge, seed % 10_000, seed % 8 + 1, seed)
        except AssertionError as error:
            raise AssertionError(f"check(judge, {seed % 10_000}, {seed % 8 + 1}, {seed})") from error
        rounds += 1
    print(f"{rounds} documents from seed {start}")
