"""Documents that clients registered by their hash: Apollo's automatic persisted queries, within bounds.

It spares bandwidth and is no protection: any holder of a valid key registers what he is allowed to run, and
whoever knows the hash of a document runs it as if he had sent its text.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from sys import getsizeof
from typing import Final

MAX_ENTRIES: Final = 1_000
MAX_BYTES: Final = 10_000_000


def hash_of(text: str) -> str:
    """Return the SHA-256 of a document's text in UTF-8, as 64 lower-case hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


class RegisteredDocuments:
    """Texts by their hash; the least recently used are forgotten first, and their clients send them again."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        """Keep at most so many texts, and at most so many bytes of them."""
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._size_bytes = 0

    def __len__(self) -> int:
        """Count the texts kept."""
        return len(self._texts)

    @property
    def size_bytes(self) -> int:
        """The memory that the texts kept take."""
        return self._size_bytes

    def find(self, sha256_hex: str) -> str | None:
        """Return the text of this hash, or None."""
        text = self._texts.get(sha256_hex)
        if text is not None:
            self._texts.move_to_end(sha256_hex)
        return text

    def register(self, sha256_hex: str, text: str) -> None:
        """Keep a text under its hash, which the caller has compared with it."""
        if sha256_hex in self._texts:
            return
        self._texts[sha256_hex] = text
        self._size_bytes += getsizeof(text)
        while len(self._texts) > self._max_entries or self._size_bytes > self._max_bytes:
            _, oldest = self._texts.popitem(last=False)
            self._size_bytes -= getsizeof(oldest)
