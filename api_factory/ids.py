"""Identifiers: UUIDv7 inside, `acc_…` and `key_…` outside.

The public form is the prefix, an underscore and the 128 bits in base62, 22 characters; it is what the
CLI, GraphQL's `node`, REST and the log show.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
UUID_LENGTH: Final = 22
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}


def uuid7() -> uuid.UUID:
    """Return a new UUIDv7 (RFC 9562 section 5.7): ordered by millisecond, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high, low = random >> 68, random & ((1 << 62) - 1)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | (high & 0xFFF) << 64 | 0b10 << 62 | low)


def encode_base62(number: int, length: int) -> str:
    """Return the number in base62, padded with zeros to `length` characters."""
    characters = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters))


def decode_base62(text: str) -> int | None:
    """Return the number that the text stands for, or None when a character is not base62."""
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            return None
        number = number * 62 + value
    return number


def public_id(prefix: str, value: uuid.UUID) -> str:
    """Return the public form of an identifier, such as `acc_02tMDpWjKJ2b1hCrYtfo7a`."""
    return f"{prefix}_{encode_base62(value.int, UUID_LENGTH)}"


def uuid_from_base62(text: str) -> uuid.UUID | None:
    """Return the UUID behind 22 base62 characters, or None when they are not one."""
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
