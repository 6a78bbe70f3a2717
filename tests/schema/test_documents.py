"""Documents are read once and kept within bounds."""

from __future__ import annotations

from typing import Any

import pytest

from api_factory.errors import OperationResolutionFailure, QueryTooComplex
from schema import limits
from schema.documents import Documents
from schema.refusals import DocumentRefused


@pytest.fixture
def documents(guarded: Any) -> Documents:
    return Documents(guarded.core, max_entries=3, max_characters=100)


def test_a_document_is_read_once(documents: Documents) -> None:
    assert documents.read("{ ping }") is documents.read("{ ping }")
    assert len(documents) == 1


def test_the_least_recently_used_is_forgotten_first(documents: Documents) -> None:
    first = documents.read("{ a: ping }")
    second = documents.read("{ b: ping }")
    documents.read("{ c: ping }")
    documents.read("{ a: ping }")
    documents.read("{ d: ping }")
    assert len(documents) == 3
    assert documents.read("{ a: ping }") is first
    assert documents.read("{ b: ping }") is not second


def test_the_characters_kept_are_bounded(documents: Documents) -> None:
    for letter in "abc":
        documents.read("{ " + letter * 40 + ": ping }")
    assert documents.characters <= 100
    assert len(documents) == 2
    documents.read("{ " + "d" * 200 + ": ping }")
    assert (len(documents), documents.characters) == (0, 0)


@pytest.mark.parametrize("text", ["{", "{ nothing }", "{ ...F } fragment F on Query { ...F }"])
def test_a_bad_document_is_refused_and_not_kept(documents: Documents, text: str) -> None:
    with pytest.raises(DocumentRefused):
        documents.read(text)
    assert len(documents) == 0


@pytest.mark.parametrize(
    "text",
    [
        " " * (limits.MAX_CHARACTERS + 1),
        "{ ping " + "a " * limits.MAX_TOKENS + "}",
        "{ ping }" + "\n#" * (limits.MAX_COMMENTS + 1),
        "{" + "a{" * 300,
        "{ echo(text: " + "[" * 300 + "]" * 300 + ") }",
    ],
)
def test_a_huge_document_is_too_complex_and_not_wrong(documents: Documents, text: str) -> None:
    with pytest.raises(QueryTooComplex) as refused:
        documents.read(text)
    assert refused.value.message.endswith(".")
    assert "Parsing aborted" not in refused.value.message


def test_the_operation_is_the_only_one_or_the_named_one(documents: Documents) -> None:
    one = documents.read("query A { ping }")
    assert one.operation(None) is one.operation("A")
    two = documents.read("query A { ping } query B { ping }")
    assert two.operation("B").name.value == "B"  # type: ignore[union-attr]
    for document, name in ((two, None), (two, "C"), (one, "")):
        with pytest.raises(OperationResolutionFailure):
            document.operation(name)
