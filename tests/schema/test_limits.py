"""How large a document may be, measured in linear time whatever it unfolds to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from graphql import parse

from api_factory.errors import QueryTooComplex
from schema import limits
from schema.limits import check_limits


def _nested(levels: int) -> str:
    return "{ a " * levels + "}" * levels


def _chain(length: int, spreads: int) -> str:
    """Return fragments of which each spreads the next one so many times."""
    return (
        "{ ...F0 }"
        + "".join(
            f" fragment F{number} on Q {{ {f'...F{number + 1} ' * spreads} }}" for number in range(length)
        )
        + f" fragment F{length} on Q {{ a }}"
    )


@pytest.mark.parametrize(
    ("make", "most", "what"),
    [
        (lambda count: "{ " + "a " * count + "}", 20, "root fields"),
        (lambda count: "{ x { " + "a " * (count - 1) + "} }", 400, "selections"),
        (lambda count: "{ x { " + " ".join(f"a{n}: a" for n in range(count)) + "} }", 30, "aliases"),
        (lambda count: "{ a " + "@skip(if: true) " * count + "}", 30, "directives"),
        (lambda count: "query " + "@x " * count + "{ a }", 30, "directives"),
        (_nested, 15, "levels of fields"),
        (lambda count: "{ ...F ...F } fragment F on Q { " + "a " * (count // 2) + "}", 20, "root fields"),
        (lambda count: "{ ... { ... on Q { " + "a " * count + "} } }", 20, "root fields"),
        (lambda count: "{ a { ...F } } fragment F on A " + _nested(count - 1), 15, "levels of fields"),
        (lambda count: "{ a } fragment F on A { x { " + "a " * (count - 2) + "} }", 400, "selections"),
    ],
)
def test_the_most_is_allowed_and_no_more(make: Callable[[int], str], most: int, what: str) -> None:
    check_limits(parse(make(most)))
    with pytest.raises(QueryTooComplex, match=f"more than {most} {what}"):
        check_limits(parse(make(most + 2)))


def test_each_operation_of_a_document_has_the_limits_for_itself() -> None:
    check_limits(parse("query A { " + "a " * 20 + "} query B { " + "a " * 20 + "}"))


def test_a_fragment_below_the_root_may_have_more_fields_than_a_root() -> None:
    check_limits(parse("{ a { ...F } } fragment F on A { " + "a " * 50 + "}"))


@pytest.mark.parametrize("length", [50, 100, 190])
def test_a_bomb_of_fragments_is_measured_in_as_many_steps_as_it_has_fragments(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    total = limits._total

    def counted(*arguments: object) -> limits.Size:
        nonlocal steps
        steps += 1
        return total(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(limits, "_total", counted)
    with pytest.raises(QueryTooComplex):
        check_limits(parse(_chain(length, 2)))
    assert steps <= 2 * length + 4


def test_a_long_chain_of_fragments_needs_no_deep_stack() -> None:
    check_limits(parse(_chain(180, 1)))


@pytest.mark.parametrize(
    "text",
    [
        "{ ...A } fragment A on Q { ...A }",
        "{ ...A } fragment A on Q { ...B } fragment B on Q { ...A a }",
        "{ ...A } fragment A on Q { ...B ...C } fragment B on Q { ...C } fragment C on Q { ...A }",
        "{ ...Missing }",
        "{ ...A } fragment A on Q { a } fragment A on Q { ...A }",
        "type T { a: Int }",
    ],
)
def test_what_validation_will_refuse_is_counted_safely(text: str) -> None:
    check_limits(parse(text))
