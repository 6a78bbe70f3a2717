"""Which document a request means: its own text, one of the manifest, or one registered by its hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api_factory.credentials import Credentials
from api_factory.errors import PersistedQueryNotFound, RequestMalformed
from schema.documents import Document, Documents
from schema.registered import RegisteredDocuments, hash_of
from schema.request import GraphQLRequest
from schema.trusted import HASHED, TrustedDocuments
from schema.unseen import UnseenDocuments

if TYPE_CHECKING:
    from api_factory.guard import Admission

APOLLO_SENTENCE: Final = "PersistedQueryNotFound"
"""What clients of automatic persisted queries look for in the message before they send the text."""


class Sources:
    """Finds documents and, once somebody was admitted with one, remembers it."""

    def __init__(self, documents: Documents, trusted: TrustedDocuments, unseen: UnseenDocuments) -> None:
        """Read into `documents` what `unseen` lets through; nothing is registered yet."""
        self._documents = documents
        self._unseen = unseen
        self._trusted = trusted
        self._registered = RegisteredDocuments()

    def find(self, request: GraphQLRequest, credentials: Credentials) -> Document:
        """Return the document of a request, read if need be.

        Raises:
            TooManyNewDocuments: It would have to be read, and the caller has brought too many of those.
            PersistedQueryNotFound: No document is known by the id or the hash.
            RequestMalformed: The hash is not that of the text.
            DocumentRefused: It does not parse, or does not fit the schema.
            QueryTooComplex: It is larger or deeper than a document may be.
        """
        query = request.query
        if query is None or request.document_hash is not None:
            query = self._text(request)
        document = self._documents.known(query)
        if document is None:
            self._unseen.count(credentials)
            document = self._documents.read(query)
        return document

    def admitted(self, request: GraphQLRequest, document: Document, admission: Admission) -> None:
        """Remember a document that somebody may run; when he has a key, also by the hash it came with."""
        is_new = self._documents.keep(document)
        if admission.caller.key_id is None:
            return
        if is_new:
            self._unseen.admitted(admission.credentials)
        if request.document_hash is not None and request.query is not None:
            self._registered.register(request.document_hash, document.text)

    def _text(self, request: GraphQLRequest) -> str:
        if request.document_id is not None:
            return self._by_id(request.document_id)
        sha256_hex = request.document_hash or ""
        if request.query is None:
            return self._by_hash(sha256_hex)
        if hash_of(request.query) != sha256_hex:
            raise RequestMalformed("sha256Hash in persistedQuery is not the SHA-256 of query; correct it.")
        return request.query

    def _by_id(self, document_id: str) -> str:
        text = self._trusted.find(document_id)
        if text is None and document_id.startswith(HASHED):
            text = self._registered.find(document_id.removeprefix(HASHED))
        if text is None:
            raise PersistedQueryNotFound(
                "No document has this documentId; send one of the server's manifest."
            )
        return text

    def _by_hash(self, sha256_hex: str) -> str:
        # Apollo's clients send the id of a manifest in the place of the hash.
        trusted = self._trusted.find(sha256_hex) or self._trusted.find(f"{HASHED}{sha256_hex}")
        text = trusted or self._registered.find(sha256_hex)
        if text is None:
            raise PersistedQueryNotFound(APOLLO_SENTENCE)
        return text
