"""Keys: who may call. Meaning, guarantees and boundaries: README.md."""

from __future__ import annotations

from api_factory.keys.cache import KeyCache
from api_factory.keys.grantor import Grantor
from api_factory.keys.lifecycle import ALLOWED, KeyStatus, KeyVerb
from api_factory.keys.model import IssuedKey, Key, KeyPage, KeySnapshot, NewKey, SecretDigest
from api_factory.keys.secret import KEY_PATTERN, Presented, parse
from api_factory.keys.service import Keys

__all__ = [
    "ALLOWED",
    "KEY_PATTERN",
    "Grantor",
    "IssuedKey",
    "Key",
    "KeyCache",
    "KeyPage",
    "KeySnapshot",
    "KeyStatus",
    "KeyVerb",
    "Keys",
    "NewKey",
    "Presented",
    "SecretDigest",
    "parse",
]
