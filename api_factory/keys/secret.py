"""The text of a key: `af_{live|test}_{key id}_{secret}_{checksum}`, read and made without any I/O.

The id (22 base62 characters of the key's UUID) finds the row, the secret (24 random bytes in 33 characters)
proves the holder, and the checksum (CRC-32 of all before it, 6 characters) refuses what was cut, mistyped
or made up before anything is asked. What is stored is an HMAC-SHA256 of the whole text.
"""

from __future__ import annotations

import hmac
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from api_factory.ids import UUID_LENGTH, encode_base62, uuid_from_base62

SECRET_BYTES: Final = 24
SECRET_LENGTH: Final = 33
CHECKSUM_LENGTH: Final = 6
HINT_LENGTH: Final = 4

KEY_PATTERN: Final = r"\baf_(?:live|test)_[0-9A-Za-z]{22}_[0-9A-Za-z]{33}_[0-9A-Za-z]{6}\b"
"""The regular expression by which a secret scanner finds keys; `parse` rejects what only looks like one."""

_PREFIXES: Final = {"af_live_": True, "af_test_": False}
_ID_START: Final = 8
_ID_END: Final = _ID_START + UUID_LENGTH
_SECRET_END: Final = _ID_END + 1 + SECRET_LENGTH
KEY_LENGTH: Final = _SECRET_END + 1 + CHECKSUM_LENGTH


@dataclass(frozen=True, slots=True)
class Presented:
    """A key as a caller presents it: well formed, not yet proven. Its representation hides the secret."""

    livemode: bool
    key_id: UUID
    secret: str = field(repr=False)
    text: str = field(repr=False)


def parse(text: str) -> Presented | None:
    """Read a key, or return None for any text that is not one; never raises and never asks anybody."""
    if len(text) != KEY_LENGTH or not text.isascii():
        return None
    livemode = _PREFIXES.get(text[:_ID_START])
    if livemode is None or text[_ID_END] != "_" or text[_SECRET_END] != "_":
        return None
    secret = text[_ID_END + 1 : _SECRET_END]
    if text[_SECRET_END + 1 :] != _checksum(text[:_SECRET_END]) or not secret.isalnum():
        return None
    key_id = uuid_from_base62(text[_ID_START:_ID_END])
    return None if key_id is None else Presented(livemode, key_id, secret, text)


def mint(livemode: bool, key_id: UUID) -> str:
    """Return a new key for this id, its secret from the system's randomness."""
    secret = encode_base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_LENGTH)
    body = f"{prefix(livemode, key_id)}_{secret}"
    return f"{body}_{_checksum(body)}"


def prefix(livemode: bool, key_id: UUID) -> str:
    """Return the part of a key that may be shown: its kind and its id."""
    return f"af_{'live' if livemode else 'test'}_{encode_base62(key_id.int, UUID_LENGTH)}"


def hint(text: str) -> str:
    """Return the last characters of a key, by which its holder recognises it."""
    return text[-HINT_LENGTH:]


def digest(text: str, pepper: bytes) -> bytes:
    """Return the HMAC-SHA256 of a key's text, which must be ASCII as every parsed or minted key is."""
    return hmac.digest(pepper, text.encode("ascii"), "sha256")


def matches(pairs: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the place of the pair whose digests are equal, or None.

    Each pair is compared in constant time, and all of them whatever the earlier ones said, so the time
    tells neither how much of a digest was right nor which secret it was.
    """
    found = None
    for place, (presented, stored) in enumerate(pairs):
        if hmac.compare_digest(presented, stored):
            found = place
    return found


def _checksum(body: str) -> str:
    return encode_base62(zlib.crc32(body.encode("ascii")), CHECKSUM_LENGTH)
