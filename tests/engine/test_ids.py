"""Identifiers read back as they were written, and nothing else is read."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from api_factory.ids import parse_public_id, public_id, uuid7, uuid_from_base62


@given(st.uuids())
def test_a_public_id_reads_back(value: uuid.UUID) -> None:
    text = public_id("acc", value)
    assert len(text) == 26
    assert parse_public_id("acc", text) == value
    assert parse_public_id("key", text) is None


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    found = parse_public_id("acc", text)
    assert found is None or public_id("acc", found) == text
    assert uuid_from_base62(text) is None or len(text) == 22


def test_more_than_128_bits_is_no_id() -> None:
    assert uuid_from_base62("z" * 22) is None
    assert uuid_from_base62("é" * 22) is None


def test_ids_are_version_7_and_in_the_order_of_time() -> None:
    made = [uuid7() for _ in range(100)]
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {uuid.RFC_4122}
    assert len(set(made)) == 100
    assert [each.int >> 80 for each in made] == sorted(each.int >> 80 for each in made)
