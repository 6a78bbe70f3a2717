"""Identifiers: UUIDv7 inside, `acc_…` and `key_…` outside.

The public form is the prefix, an underscore and the 128 bits in base62, 22 characters; it is what the
CLI, GraphQL's `node`, REST and the log show.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
UUID_LENGTH: Final = 22
# Two characters at a time: every request reads a key and writes ids.
_PAIRS: Final = [first + second for first in ALPHABET for second in ALPHABET]
_PAIR_VALUES: Final = {pair: value for value, pair in enumerate(_PAIRS)}
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}
_PAIR_BASE: Final = len(_PAIRS)

_POOL_BYTES: Final = 4_000
_RANDOM_BYTES: Final = 10


class _Randomness:
    """Random bytes of the system, fetched many at a time; a forked child starts with none of its parent's."""

    def __init__(self) -> None:
        self._chunks: Iterator[bytes] = iter(())
        os.register_at_fork(after_in_child=self._forget)

    def take(self) -> int:
        """Return 80 random bits, no bit of them given out before."""
        # One step of an iterator is atomic, so two threads never get the same chunk.
        chunk = next(self._chunks, None)
        if chunk is None:
            pool = os.urandom(_POOL_BYTES)
            chunk, *rest = (pool[at : at + _RANDOM_BYTES] for at in range(0, _POOL_BYTES, _RANDOM_BYTES))
            self._chunks = iter(rest)
        return int.from_bytes(chunk)

    def _forget(self) -> None:
        self._chunks = iter(())


_randomness: Final = _Randomness()


def uuid7() -> uuid.UUID:
    """Return a new UUIDv7 (RFC 9562 section 5.7): ordered by millisecond, 74 random bits."""
    return uuid.UUID(int=_uuid7_number())


def new_request_id() -> str:
    """Return a new UUIDv7 as 32 hexadecimal digits."""
    return f"{_uuid7_number():032x}"


def _uuid7_number() -> int:
    milliseconds = time.time_ns() // 1_000_000
    random = _randomness.take()
    high, low = random >> 68, random & ((1 << 62) - 1)
    return milliseconds << 80 | 0x7 << 76 | (high & 0xFFF) << 64 | 0b10 << 62 | low


def encode_base62(number: int, length: int) -> str:
    """Return the number in base62, padded with zeros to `length` characters; higher digits are cut."""
    pairs = []
    for _ in range((length + 1) // 2):
        number, pair = divmod(number, _PAIR_BASE)
        pairs.append(_PAIRS[pair])
    text = "".join(reversed(pairs))
    return text[1:] if length % 2 else text


def decode_base62(text: str) -> int | None:
    """Return the number that the text stands for, or None when a character is not base62."""
    number = 0
    try:
        for position in range(0, len(text) - 1, 2):
            number = number * _PAIR_BASE + _PAIR_VALUES[text[position : position + 2]]
        return number * 62 + _VALUES[text[-1]] if len(text) % 2 else number
    except KeyError:
        return None


def public_id(prefix: str, value: uuid.UUID) -> str:
    """Return the public form of an identifier, such as `acc_02tMDpWjKJ2b1hCrYtfo7a`."""
    return f"{prefix}_{encode_base62(value.int, UUID_LENGTH)}"


@lru_cache(maxsize=16_384)
def uuid_from_base62(text: str) -> uuid.UUID | None:
    """Return the UUID behind 22 base62 characters, or None when they are not one.

    Ids are no secret, and those of the keys in use come with every request: they are remembered.
    """
    if len(text) != UUID_LENGTH:
        return None
    number = decode_base62(text)
    if number is None or number >> 128:
        return None
    return uuid.UUID(int=number)


def parse_public_id(prefix: str, text: str) -> uuid.UUID | None:
    """Return the UUID behind a public id of this prefix, or None when the text is not one."""
    head, separator, tail = text.partition("_")
    if head != prefix or not separator:
        return None
    return uuid_from_base62(tail)
