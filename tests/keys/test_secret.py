from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api_factory.ids import ALPHABET
from api_factory.keys import KEY_PATTERN, Presented, parse, secret

keys = st.builds(secret.mint, st.booleans(), st.uuids(allow_nil=True))
GOOD = secret.mint(True, UUID(int=2**128 - 1))


@given(livemode=st.booleans(), key_id=st.uuids(allow_nil=True))
def test_a_minted_key_reads_back(livemode: bool, key_id: UUID) -> None:
    text = secret.mint(livemode, key_id)
    presented = parse(text)
    assert presented == Presented(livemode, key_id, text[31:64], text)
    assert text.startswith(secret.prefix(livemode, key_id) + "_")
    assert text.endswith(secret.hint(text))
    assert len(text) == secret.KEY_LENGTH == 71
    assert re.fullmatch(KEY_PATTERN, text)


@given(key=keys, place=st.integers(0, secret.KEY_LENGTH - 1), character=st.characters())
def test_every_change_of_one_character_is_caught(key: str, place: int, character: str) -> None:
    changed = key[:place] + character + key[place + 1 :]
    assert (parse(changed) is None) == (changed != key)


def test_every_change_of_one_base62_character_of_a_key_is_caught() -> None:
    for place in range(len(GOOD)):
        for character in ALPHABET + "_-":
            changed = GOOD[:place] + character + GOOD[place + 1 :]
            assert (parse(changed) is None) == (changed != GOOD)


@given(key=keys, places=st.tuples(st.integers(0, 69), st.integers(0, 69)))
def test_swapped_neighbours_are_caught(key: str, places: tuple[int, int]) -> None:
    for place in places:
        swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
        assert (parse(swapped) is None) == (swapped != key)


@given(key=keys, cut=st.integers(0, secret.KEY_LENGTH - 1))
def test_a_key_that_was_cut_or_extended_is_caught(key: str, cut: int) -> None:
    assert parse(key[:cut]) is None
    assert parse(key[cut + 1 :]) is None
    assert parse(key + key[cut]) is None


@given(text=st.text())
@example("")
@example("\0" * secret.KEY_LENGTH)
@example("\ud800" * secret.KEY_LENGTH)
@example("af_live_" + "\ud800" * (secret.KEY_LENGTH - 8))
@example("af_live_" + "_" * (secret.KEY_LENGTH - 8))
@example("٣" * secret.KEY_LENGTH)
@example("x" * 5_000_000)
@example(GOOD + "\n")
@example(" " + GOOD)
def test_no_text_panics_the_parser(text: str) -> None:
    assert parse(text) is None


@given(st.text(alphabet=st.characters(), min_size=secret.KEY_LENGTH, max_size=secret.KEY_LENGTH))
def test_no_text_of_the_right_length_panics_the_parser(text: str) -> None:
    assert parse(text) is None


@given(
    body=st.text(alphabet=ALPHABET, min_size=56, max_size=56),
    check=st.text(alphabet=ALPHABET, min_size=6, max_size=6),
)
def test_a_made_up_key_passes_the_checksum_only_if_it_is_the_right_one(body: str, check: str) -> None:
    start = f"af_test_{body[:22]}_{body[22:55]}"
    made_up = f"{start}_{check}"
    assert parse(made_up) is None or check == secret._checksum(start)


def test_an_id_beyond_128_bits_is_refused_though_its_checksum_is_right() -> None:
    start = f"af_live_{'z' * 22}_{'0' * 33}"
    assert parse(f"{start}_{secret._checksum(start)}") is None


def test_a_secret_with_other_characters_is_refused_though_its_checksum_is_right() -> None:
    start = f"af_live_{'0' * 22}_{'-' * 33}"
    assert parse(f"{start}_{secret._checksum(start)}") is None


def test_the_secret_has_192_bits_and_never_repeats() -> None:
    assert secret.SECRET_BYTES * 8 == 192
    assert 62**secret.SECRET_LENGTH > 2**192
    assert len({secret.mint(True, UUID(int=0)) for _ in range(1_000)}) == 1_000


def test_a_presented_key_hides_its_secret_when_printed() -> None:
    presented = parse(GOOD)
    assert presented is not None
    assert presented.secret not in repr(presented)
    assert GOOD not in repr(presented)


def test_the_pattern_finds_a_key_in_the_middle_of_a_text() -> None:
    assert re.findall(KEY_PATTERN, f'curl -H "Authorization: Bearer {GOOD}" && x{GOOD}') == [GOOD]


def test_the_digest_depends_on_every_part_of_the_key_and_on_the_pepper() -> None:
    assert len(secret.digest(GOOD, b"p")) == 32
    assert secret.digest(GOOD, b"p") == secret.digest(GOOD, b"p")
    assert secret.digest(GOOD, b"p") != secret.digest(GOOD, b"q")
    assert secret.digest(GOOD, b"p") != secret.digest(GOOD.replace("live", "test"), b"p")


@pytest.mark.parametrize("place", [0, 1, 2, None])
def test_all_digests_are_compared_in_constant_time_wherever_the_match_is(
    monkeypatch: pytest.MonkeyPatch, place: int | None
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def seen(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return compare(left, right)

    monkeypatch.setattr(hmac, "compare_digest", seen)
    pairs = [(b"x" * 32, b"x" * 32 if n == place else b"y" * 32) for n in range(3)]

    def offered() -> Iterator[tuple[bytes, bytes]]:
        yield from pairs

    assert secret.matches(offered()) == place
    assert compared == pairs
