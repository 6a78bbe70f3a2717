"""Signatures of outgoing webhooks: Standard Webhooks 1.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, «Signature scheme»
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from api_factory.errors import ConfigurationError

PREFIX: Final = "whsec_"
_SHORTEST_BYTES: Final = 24
_LONGEST_BYTES: Final = 64


def signing_keys(secrets: str) -> tuple[bytes, ...]:
    """Return the keys behind one secret or several, comma-separated: `whsec_` and base64 of 24 to 64 bytes.

    Raises `ConfigurationError` that says how to make one.
    """
    return tuple(_key(part.strip()) for part in secrets.split(",") if part.strip())


def signature_of(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> str:
    """Return the value of `webhook-signature`: `v1,` and base64 for every key, separated by spaces."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not _SHORTEST_BYTES <= len(key) <= _LONGEST_BYTES:
        raise ConfigurationError(
            f"API_FACTORY_NOTICE_SECRET is not {PREFIX} and the base64 of {_SHORTEST_BYTES} to "
            f"{_LONGEST_BYTES} bytes; make one with `echo {PREFIX}$(openssl rand -base64 32)`."
        )
    return key
