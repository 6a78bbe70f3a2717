"""Which document a request means: its own text, one of the manifest, or one registered by its hash."""

from __future__ import annotations

from api_factory.errors import PersistedQueryNotFound, RequestMalformed
from schema.documents import Document, Documents
from schema.registered import RegisteredDocuments, hash_of
from schema.request import GraphQLRequest
from schema.trusted import HASHED, TrustedDocuments

APOLLO_SENTENCE = "PersistedQueryNotFound"
"""What clients of automatic persisted queries look for in the message before they send the text."""


class Sources:
    """Finds documents and, once somebody was admitted with one, remembers it."""

    def __init__(self, documents: Documents, trusted: TrustedDocuments) -> None:
        """Read into `documents`; nothing is registered yet."""
        self._documents = documents
        self._trusted = trusted
        self._registered = RegisteredDocuments()

    def find(self, request: GraphQLRequest) -> Document:
        """Return the document of a request, read if need be.

        Raises:
            PersistedQueryNotFound: No document is known by the id or the hash.
            RequestMalformed: The hash is not that of the text.
            DocumentRefused: It does not parse, or does not fit the schema.
            QueryTooComplex: It is larger or deeper than a document may be.
        """
        query = request.query
        if query is None or request.document_hash is not None:
            query = self._text(request)
        return self._documents.read(query)

    def admitted(self, request: GraphQLRequest, document: Document, *, has_key: bool) -> None:
        """Remember a document that somebody may run; when he has a key, also by the hash it came with."""
        self._documents.keep(document)
        if has_key and request.document_hash is not None and request.query is not None:
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
