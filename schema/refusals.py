"""A document that is refused: several located errors under one code."""

from __future__ import annotations

from collections.abc import Sequence

from graphql import GraphQLError

from api_factory.errors import ApiFactoryError
from schema.limits import MAX_ERRORS


class DocumentRefused(Exception):
    """The document or its variables are wrong; at most five errors say where.

    It is told with 400, or with 200 to a client that only reads `application/json`.
    """

    def __init__(self, kind: type[ApiFactoryError], errors: Sequence[GraphQLError]) -> None:
        """Refuse with the code of `kind` and the first errors."""
        self.kind = kind
        self.errors = tuple(errors[:MAX_ERRORS])
        super().__init__(self.errors[0].message)
