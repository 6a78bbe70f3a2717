"""Identifiers read back as they were written, and nothing else is read."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from api_factory.ids import (
    ALPHABET,
    decode_base62,
    encode_base62,
    new_request_id,
    parse_public_id,
    public_id,
    uuid7,
    uuid_from_base62,
)


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


@given(st.integers(0, 62**22 - 1), st.sampled_from([6, 22, 33]))
def test_base62_keeps_the_digits_that_fit(number: int, length: int) -> None:
    text = encode_base62(number, length)
    assert len(text) == length
    assert decode_base62(text) == number % 62**length
    assert text == "".join(ALPHABET[number // 62**place % 62] for place in reversed(range(length)))


def test_many_threads_never_get_one_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda _: [uuid7() for _ in range(5_000)], range(8))
        made = [each for part in parts for each in part]
    assert len(set(made)) == 40_000


def test_a_forked_child_makes_ids_of_its_own() -> None:
    uuid7()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, uuid7().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    mine, theirs = uuid7(), uuid.UUID(bytes=os.read(reading, 16))
    os.close(reading)
    os.close(writing)
    random_bits = (1 << 62) - 1
    assert mine.int & random_bits != theirs.int & random_bits


def test_a_request_id_is_a_uuid_in_hexadecimal() -> None:
    assert uuid.UUID(hex=new_request_id()).version == 7
