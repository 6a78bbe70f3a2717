"""How large a document may be: one count over its syntax, before anything is looked up or run.

Fragments are counted once each and their sums are added where they are spread, so a document whose spreads
unfold to 2^50 selections is measured in as many steps as it has selections. A cycle adds nothing here;
validation refuses it right after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
)

from api_factory.errors import QueryTooComplex

MAX_CHARACTERS: Final = 100_000
MAX_TOKENS: Final = 2_000
MAX_COMMENTS: Final = 500
MAX_ERRORS: Final = 5
"""Most errors a refused request is told of."""

MAX_SELECTIONS: Final = 400
MAX_ALIASES: Final = 30
MAX_DIRECTIVES: Final = 30
MAX_ROOT_FIELDS: Final = 20
MAX_DEPTH: Final = 15
MAX_SELECTIONS_OF_ALL_OPERATIONS: Final = 1_000
"""Most selections of all operations of a document together."""

MAX_SAME_FIELDS_IN_ONE_PLACE: Final = 10
"""Most fields of one response key in one place."""

MAX_FRAGMENTS_IN_ONE_PLACE: Final = 20
"""Most fragments spread in one place."""

_Definition = OperationDefinitionNode | FragmentDefinitionNode


@dataclass(frozen=True, slots=True)
class Size:
    """What an operation comes to once every spread is unfolded."""

    selections: int = 0
    aliases: int = 0
    directives: int = 0
    root_fields: int = 0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class _Outline:
    # One definition by itself: its own size, and which fragments it spreads at which depth.
    size: Size
    spreads: tuple[tuple[str, int], ...]


def check_limits(document: DocumentNode) -> None:
    """Refuse a document in which anything exceeds its limit, unfolded or as written.

    Raises:
        QueryTooComplex: The sentence says what there is too much of, and how much is allowed.
    """
    outlines = [(node, _outline(node)) for node in document.definitions if isinstance(node, _Definition)]
    _check("selections", sum(outline.size.selections for _, outline in outlines), MAX_SELECTIONS)
    fragments = {
        node.name.value: outline for node, outline in outlines if isinstance(node, FragmentDefinitionNode)
    }
    totals = _unfold(fragments)
    unfolded = 0
    for node, outline in outlines:
        size = _total(outline, totals)
        _check_size(size)
        if isinstance(node, OperationDefinitionNode):
            _check("root fields", size.root_fields, MAX_ROOT_FIELDS)
            unfolded += size.selections
    _check("selections in all its operations", unfolded, MAX_SELECTIONS_OF_ALL_OPERATIONS)


def check_repeats(document: DocumentNode) -> None:
    """Refuse a document in which too much is selected more than once in one place of the reply.

    What stands in one place is merged, which takes validation as many steps as there are pairs. The document
    must be within all other limits, and its fragments must exist and not spread themselves.

    Raises:
        QueryTooComplex: The sentence says what there is too much of, and how much is allowed.
    """
    fragments = {
        node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            _check_places(node, fragments)


def _check_places(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> None:
    # A place is a path of response keys, known by its number; the type a fragment is on makes no other place.
    places: dict[tuple[int, str], int] = {}
    fields: Counter[int] = Counter()
    spreads: Counter[int] = Counter()
    todo = [(node, 0) for node in operation.selection_set.selections]
    while todo:
        node, place = todo.pop()
        if isinstance(node, FieldNode):
            place = places.setdefault((place, (node.alias or node.name).value), len(places) + 1)
            fields[place] += 1
        elif isinstance(node, FragmentSpreadNode):
            spreads[place] += 1
        todo += [(each, place) for each in _selected_by(node, fragments)]
    _check("fields of one name in one place", max(fields.values(), default=0), MAX_SAME_FIELDS_IN_ONE_PLACE)
    _check("fragments in one place", max(spreads.values(), default=0), MAX_FRAGMENTS_IN_ONE_PLACE)


def _selected_by(
    node: SelectionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[SelectionNode, ...]:
    if isinstance(node, FragmentSpreadNode):
        return fragments[node.name.value].selection_set.selections
    inner = node.selection_set if isinstance(node, (FieldNode, InlineFragmentNode)) else None
    return () if inner is None else inner.selections


def _check_size(size: Size) -> None:
    _check("selections", size.selections, MAX_SELECTIONS)
    _check("aliases", size.aliases, MAX_ALIASES)
    _check("directives", size.directives, MAX_DIRECTIVES)
    _check("levels of fields", size.depth, MAX_DEPTH)


def _check(what: str, count: int, maximum: int) -> None:
    if count > maximum:
        raise QueryTooComplex(
            f"The document has more than {maximum} {what}; ask for less at once.",
            extensions={"maximum": maximum},
        )


def _outline(definition: _Definition) -> _Outline:
    selections = aliases = depth = root_fields = 0
    directives = len(definition.directives or ())
    spreads: list[tuple[str, int]] = []
    todo: list[tuple[SelectionNode, int]] = [(node, 1) for node in definition.selection_set.selections]
    while todo:
        node, level = todo.pop()
        selections += 1
        directives += len(node.directives or ())
        if isinstance(node, FragmentSpreadNode):
            spreads.append((node.name.value, level - 1))
            continue
        if isinstance(node, FieldNode):
            aliases += node.alias is not None
            root_fields += level == 1
            depth = max(depth, level)
        todo += _below(node, level)
    return _Outline(Size(selections, aliases, directives, root_fields, depth), tuple(spreads))


def _below(node: SelectionNode, level: int) -> list[tuple[SelectionNode, int]]:
    selection_set = node.selection_set if isinstance(node, (FieldNode, InlineFragmentNode)) else None
    if selection_set is None:
        return []
    inner = level + isinstance(node, FieldNode)
    return [(child, inner) for child in selection_set.selections]


def _unfold(fragments: Mapping[str, _Outline]) -> dict[str, Size]:
    # Depth first, without recursion: a chain of fragments can be longer than the interpreter's stack.
    totals: dict[str, Size] = {}
    entered: set[str] = set()
    for first in fragments:
        path = [] if first in entered else [(first, iter(fragments[first].spreads))]
        entered.add(first)
        while path:
            name, spreads = path[-1]
            inner = next((each for each, _ in spreads if each in fragments and each not in entered), None)
            if inner is None:
                totals[name] = _total(fragments[name], totals)
                path.pop()
            else:
                entered.add(inner)
                path.append((inner, iter(fragments[inner].spreads)))
    return totals


def _total(outline: _Outline, totals: Mapping[str, Size]) -> Size:
    own = outline.size
    selections, aliases, directives = own.selections, own.aliases, own.directives
    root_fields, depth = own.root_fields, own.depth
    for name, level in outline.spreads:
        spread = totals.get(name)
        if spread is None:
            continue
        selections += spread.selections
        aliases += spread.aliases
        directives += spread.directives
        root_fields += spread.root_fields if level == 0 else 0
        depth = max(depth, level + spread.depth)
    return Size(selections, aliases, directives, root_fields, depth)
