"""Documents, read once: parsed, counted, validated and, for those who may run them, kept within bounds.

Only what the guard has admitted is kept, so that nobody fills the memory, or empties it of what others use,
with documents that are wrong or not his to run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from sys import getsizeof
from typing import Final
from weakref import WeakValueDictionary

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import ASTValidationRule, OverlappingFieldsCanBeMergedRule

from api_factory.errors import (
    GraphQLParseFailed,
    GraphQLValidationFailed,
    OperationResolutionFailure,
    QueryTooComplex,
)
from schema.limits import (
    MAX_CHARACTERS,
    MAX_COMMENTS,
    MAX_ERRORS,
    MAX_TOKENS,
    check_limits,
    check_repeats,
)
from schema.operation import Survey
from schema.refusals import DocumentRefused

MAX_ENTRIES: Final = 1_000
MAX_KEPT_BYTES: Final = 64_000_000
BYTES_PER_DOCUMENT: Final = 10_000
BYTES_PER_TOKEN: Final = 600
"""What a token and its share of the syntax tree take: 350 in a list of values, 600 in a list of fields."""

_MERGING: Final = (OverlappingFieldsCanBeMergedRule,)
_OTHER_RULES: Final = tuple(rule for rule in specified_rules if rule not in _MERGING)

# What the parser says when one of its bounds is passed; it has no class of its own for that.
_TOO_LARGE: Final = "Parsing aborted."


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Document:
    """A valid document within all limits; `surveys` keeps what is the same for every request."""

    text: str
    node: DocumentNode
    operations: Mapping[str | None, OperationDefinitionNode]
    fragments: Mapping[str, FragmentDefinitionNode]
    surveys: dict[str | None, Survey] = field(default_factory=dict)
    is_trusted: bool = False

    @property
    def size_bytes(self) -> int:
        """About the memory it takes: its text, once as it is and once in its tokens, and its tree."""
        tree_bytes = BYTES_PER_DOCUMENT + BYTES_PER_TOKEN * self.node.token_count
        return tree_bytes + 2 * getsizeof(self.text)

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
        max_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        """Keep at most so many documents, and at most about so many bytes of them."""
        self._schema = schema
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._trusted: dict[str, Document] = {}
        # What requests under way hold: one that many bring at once, and nobody was admitted with yet.
        self._under_way: WeakValueDictionary[str, Document] = WeakValueDictionary()
        self._size_bytes = 0

    def __len__(self) -> int:
        """Count the documents kept."""
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """About the memory that all documents kept take."""
        return self._size_bytes

    def read(self, text: str) -> Document:
        """Return the document, from memory when it is there.

        Raises:
            DocumentRefused: It does not parse, or does not fit the schema.
            QueryTooComplex: It is larger or deeper than a document may be.
        """
        document = self.known(text)
        if document is None:
            document = self._under_way[text] = self._check(text, _parse(text))
        return document

    def known(self, text: str) -> Document | None:
        """Return a document that need not be read: kept, trusted, or held by a request under way."""
        document = self._kept.get(text)
        if document is not None:
            self._kept.move_to_end(text)
            return document
        return self._trusted.get(text) or self._under_way.get(text)

    def trust(self, text: str) -> None:
        """Hold a document of the operator's manifest for good. Raises as `read` does."""
        self._trusted[text] = replace(self._check(text, _parse(text)), is_trusted=True)

    def keep(self, document: Document) -> bool:
        """Remember a document whose operation was admitted; tell whether it was new."""
        if document.is_trusted or document.text in self._kept:
            return False
        self._kept[document.text] = document
        self._size_bytes += document.size_bytes
        while len(self._kept) > self._max_entries or self._size_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._size_bytes -= oldest.size_bytes
        return True

    def _check(self, text: str, node: DocumentNode) -> Document:
        check_limits(node)
        self._validate(node, _OTHER_RULES)
        # Whether fields can be merged is found out pair by pair: only for what is otherwise valid, and
        # only when there are few pairs.
        check_repeats(node)
        self._validate(node, _MERGING)
        definitions = node.definitions
        return Document(
            text,
            node,
            {
                each.name.value if each.name else None: each
                for each in definitions
                if isinstance(each, OperationDefinitionNode)
            },
            {each.name.value: each for each in definitions if isinstance(each, FragmentDefinitionNode)},
        )

    def _validate(self, node: DocumentNode, rules: Collection[type[ASTValidationRule]]) -> None:
        errors = validate(self._schema, node, rules, max_errors=MAX_ERRORS, hide_suggestions=True)
        if errors:
            raise DocumentRefused(GraphQLValidationFailed, errors)


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
