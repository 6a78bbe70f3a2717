"""Trusted documents: what the operator's own clients send, by id, read from a manifest at the start.

Three forms are read: Relay's and graphql-codegen's object of id to text, and Apollo's list of operations.
A document is found by its id or, by the draft of GraphQL over HTTP (appendix A), by `sha256:` and the hash of
its text. Every one is parsed, counted and validated before the first request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from api_factory.errors import ApiFactoryError, ConfigurationError
from schema.documents import Documents
from schema.refusals import DocumentRefused
from schema.registered import hash_of

SETTING: Final = "API_FACTORY_TRUSTED_DOCUMENTS"
HASHED: Final = "sha256:"
APOLLO: Final = "apollo-persisted-query-manifest"

# Appendix A reserves what stands before a colon, apart from what begins with x-.
_CUSTOM_ID: Final = re.compile(r"[^:]+|x-[^:]+:.+", re.DOTALL)
_LONGEST_SHOWN: Final = 80


class TrustedDocuments:
    """The texts of a manifest by their ids; immutable."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Take texts by id; each is found by its hash too."""
        self._texts = {f"{HASHED}{hash_of(text)}": text for text in texts.values()} | dict(texts)

    def find(self, document_id: str) -> str | None:
        """Return the text of this id, or None."""
        return self._texts.get(document_id)


def load_trusted(path: Path | None, documents: Documents) -> TrustedDocuments:
    """Read the manifest, if there is one, and make `documents` hold each of its documents for good.

    Raises:
        ConfigurationError: The file cannot be read, is no manifest, or a document in it does not fit the
            schema or the limits; the sentence names the setting and the document.
    """
    texts = {} if path is None else read_manifest(path)
    for document_id, text in texts.items():
        _check_id(document_id, text)
        try:
            documents.trust(text)
        except (DocumentRefused, ApiFactoryError) as error:
            reason = str(error).rstrip(".")
            raise _refusal(document_id, f"is refused ({reason}); correct it or take it out.") from None
    return TrustedDocuments(texts)


def read_manifest(path: Path) -> dict[str, str]:
    """Return the texts of a manifest by their ids.

    Raises:
        ConfigurationError: The file cannot be read, or has none of the three forms.
    """
    try:
        parsed: Any = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"{SETTING}: {path} cannot be read ({error.strerror}); name a file that this user can read."
        ) from None
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"{SETTING}: {path} is not JSON ({error}).") from None
    if isinstance(parsed, dict) and parsed.get("format") == APOLLO:
        parsed = _by_id(parsed.get("operations"))
    if not isinstance(parsed, dict) or not all(isinstance(text, str) for text in parsed.values()):
        raise ConfigurationError(
            f"{SETTING}: {path} is no manifest; write an object of id to document, as Relay and "
            f"graphql-codegen do, or Apollo's {APOLLO}."
        )
    return parsed


def _by_id(operations: Any) -> dict[str, str] | None:
    if not isinstance(operations, list) or not all(isinstance(each, dict) for each in operations):
        return None
    found = {each.get("id"): each.get("body") for each in operations}
    # Two of one id would be one of them by chance.
    return found if len(found) == len(operations) and all(isinstance(each, str) for each in found) else None


def _check_id(document_id: str, text: str) -> None:
    if document_id.startswith(HASHED):
        if document_id != f"{HASHED}{hash_of(text)}":
            raise _refusal(document_id, "has an id that is not the SHA-256 of its text; write it anew.")
    elif not _CUSTOM_ID.fullmatch(document_id):
        raise _refusal(
            document_id, "has an id with a reserved prefix; use no colon, sha256: or a prefix like x-mine:."
        )


def _refusal(document_id: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{SETTING}: the document {document_id[:_LONGEST_SHOWN]!r} {problem}")
