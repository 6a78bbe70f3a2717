"""Documents, read once: parsed, counted, validated and kept, within bounds.

Only good documents are kept, so that a flood of bad ones cannot push them out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    validate,
)

from api_factory.errors import (
    GraphQLParseFailed,
    GraphQLValidationFailed,
    OperationResolutionFailure,
    QueryTooComplex,
)
from schema.limits import MAX_CHARACTERS, MAX_COMMENTS, MAX_ERRORS, MAX_TOKENS, check_limits
from schema.operation import Survey
from schema.refusals import DocumentRefused

MAX_ENTRIES: Final = 1_000
MAX_CACHED_CHARACTERS: Final = 4_000_000

# What the parser says when one of its bounds is passed; it has no class of its own for that.
_TOO_LARGE: Final = "Parsing aborted."


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document within all limits; `surveys` keeps what is the same for every request."""

    node: DocumentNode
    operations: Mapping[str | None, OperationDefinitionNode]
    fragments: Mapping[str, FragmentDefinitionNode]
    surveys: dict[str | None, Survey] = field(default_factory=dict)

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """Return the operation to run (GraphQL specification, GetOperation).

        Raises:
            OperationResolutionFailure: There are several and none is named, or none has that name.
        """
        if name is not None:
            found = self.operations.get(name)
            if found is None:
                raise OperationResolutionFailure(
                    "The document has no operation of the name in operationName; correct the name."
                )
            return found
        if len(self.operations) != 1:
            raise OperationResolutionFailure
        return next(iter(self.operations.values()))


class Documents:
    """Reads documents against one schema; the least recently used are forgotten first."""

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        max_entries: int = MAX_ENTRIES,
        max_characters: int = MAX_CACHED_CHARACTERS,
    ) -> None:
        """Keep at most so many documents, and at most so many characters of them."""
        self._schema = schema
        self._max_entries = max_entries
        self._max_characters = max_characters
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        """Count the documents kept."""
        return len(self._kept)

    @property
    def characters(self) -> int:
        """The characters of all documents kept."""
        return self._characters

    def read(self, text: str) -> Document:
        """Return the document, from memory when it was read before.

        Raises:
            DocumentRefused: It does not parse, or does not fit the schema.
            QueryTooComplex: It is larger or deeper than a document may be.
        """
        document = self._kept.get(text)
        if document is not None:
            self._kept.move_to_end(text)
            return document
        document = self._check(_parse(text))
        self._keep(text, document)
        return document

    def _check(self, node: DocumentNode) -> Document:
        check_limits(node)
        errors = validate(self._schema, node, max_errors=MAX_ERRORS, hide_suggestions=True)
        if errors:
            raise DocumentRefused(GraphQLValidationFailed, errors)
        definitions = node.definitions
        return Document(
            node,
            {
                each.name.value if each.name else None: each
                for each in definitions
                if isinstance(each, OperationDefinitionNode)
            },
            {each.name.value: each for each in definitions if isinstance(each, FragmentDefinitionNode)},
        )

    def _keep(self, text: str, document: Document) -> None:
        self._kept[text] = document
        self._characters += len(text)
        while len(self._kept) > self._max_entries or self._characters > self._max_characters:
            oldest, _ = self._kept.popitem(last=False)
            self._characters -= len(oldest)


def _parse(text: str) -> DocumentNode:
    if len(text) > MAX_CHARACTERS:
        raise QueryTooComplex(f"The document has more than {MAX_CHARACTERS} characters; use variables.")
    try:
        return parse(text, max_lexical_tokens=MAX_TOKENS, max_comments=MAX_COMMENTS)
    except GraphQLSyntaxError as error:
        if error.message.endswith(_TOO_LARGE):
            said = error.message.removeprefix("Syntax Error: ").removesuffix(f". {_TOO_LARGE}")
            raise QueryTooComplex(f"{said}; ask for less at once.") from None
        raise DocumentRefused(GraphQLParseFailed, [error]) from None
