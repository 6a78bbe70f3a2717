"""Documents are read once and kept within bounds."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

from api_factory.errors import OperationResolutionFailure, QueryTooComplex
from schema import limits
from schema.documents import Document, Documents
from schema.refusals import DocumentRefused


@pytest.fixture
def documents(guarded: Any) -> Documents:
    return Documents(guarded.core, max_entries=3, max_bytes=50_000)


def _kept(documents: Documents, text: str) -> Document:
    document = documents.read(text)
    documents.keep(document)
    return document


def test_a_document_that_may_run_is_read_once(documents: Documents) -> None:
    document = documents.read("{ ping }")
    assert len(documents) == 0
    for _ in range(2):
        documents.keep(document)
        assert documents.read("{ ping }") is document
        assert (len(documents), documents.size_bytes) == (1, document.size_bytes)


def test_the_least_recently_used_is_forgotten_first(documents: Documents) -> None:
    first = _kept(documents, "{ a: ping }")
    _kept(documents, "{ b: ping }")
    _kept(documents, "{ c: ping }")
    documents.read("{ a: ping }")
    _kept(documents, "{ d: ping }")
    assert len(documents) == 3
    assert documents.read("{ a: ping }") is first
    assert documents.known("{ b: ping }") is None


def test_a_document_that_a_request_under_way_holds_is_not_read_again(documents: Documents) -> None:
    first = documents.read("{ ping }")
    assert documents.read("{ ping }") is first
    assert len(documents) == 0
    del first
    assert documents.known("{ ping }") is None


def test_the_memory_kept_is_bounded_by_tokens_and_by_text(documents: Documents) -> None:
    for letter in "abc":
        _kept(documents, f"{{ {letter}: ping " + "ping " * 10 + "}")
    assert documents.size_bytes <= 50_000
    assert len(documents) == 2
    _kept(documents, '{ echo(text: "' + "x" * 25_000 + '") }')
    assert (len(documents), documents.size_bytes) == (0, 0)
    _kept(documents, "{ actions { nodes { " + "id name field kind cost example " * 10 + "} } }")
    assert (len(documents), documents.size_bytes) == (0, 0)


def test_what_a_document_takes_is_not_more_than_is_counted(documents: Documents) -> None:
    texts = [
        f"{{ a{number}: actions {{ " + "nodes { id name } edges { cursor } " * 9 + "} }"
        for number in range(20)
    ]
    documents.read(texts[0])
    tracemalloc.start()
    read = [documents.read(text) for text in texts]
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= sum(each.size_bytes for each in read)


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


@pytest.mark.parametrize(
    "text",
    [
        "{ actions { " + "nodes { id } " * 11 + "} }",
        "{ actions { " + "... { nodes { id } } " * 11 + "} }",
        "{ " + "actions { nodes { id } nodes { id } } " * 6 + "}",
        "{ actions { "
        + "...F " * 4
        + "} } fragment F on ActionConnection { nodes { id } nodes { id } nodes { id } }",
        "{ actions { "
        + " ".join(f"...F{n}" for n in range(21))
        + " } }"
        + "".join(f" fragment F{n} on ActionConnection {{ totalCount }}" for n in range(21)),
        "".join(f"query Q{n} {{ ...F }} " for n in range(60)) + "fragment F on Query {" + " ping" * 20 + " }",
    ],
)
def test_what_would_take_long_to_validate_is_too_complex(documents: Documents, text: str) -> None:
    with pytest.raises(QueryTooComplex) as refused:
        documents.read(text)
    assert refused.value.extensions["maximum"] in (10, 20, 1_000)


def test_a_few_repeats_of_a_field_and_a_fragment_are_merged(documents: Documents) -> None:
    documents.read("{ actions { " + "nodes { id } " * 10 + "} }")
    documents.read("{ " + "...F " * 10 + "} fragment F on Query { ping }")
    with pytest.raises(DocumentRefused, match="conflict"):
        documents.read("{ ping ping: actions { totalCount } }")


def test_the_operation_is_the_only_one_or_the_named_one(documents: Documents) -> None:
    one = documents.read("query A { ping }")
    assert one.operation(None) is one.operation("A")
    two = documents.read("query A { ping } query B { ping }")
    assert two.operation("B").name.value == "B"  # type: ignore[union-attr]
    for document, name in ((two, None), (two, "C"), (one, "")):
        with pytest.raises(OperationResolutionFailure):
            document.operation(name)
