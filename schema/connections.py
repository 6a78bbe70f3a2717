"""Pages of lists, as Relay's cursor connections: opaque cursors, forwards or backwards, 1 to 100 at once."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Generic, TypeVar

import strawberry

from api_factory.errors import BadUserInput
from schema.directives import ListSize

DEFAULT_PAGE: Final = 20
LARGEST_PAGE: Final = 100
_PREFIX: Final = "cursor:"

PAGED: Final = ListSize(slicing_arguments=["first", "last"], assumed_size=DEFAULT_PAGE)
"""Says in the SDL how many items a connection can have."""

First = Annotated[
    int | None, strawberry.argument(description="1 to 100; 20 when neither first nor last is given.")
]
After = Annotated[str | None, strawberry.argument(description="A cursor; the page begins behind it.")]
Last = Annotated[int | None, strawberry.argument(description="1 to 100, from the end.")]
Before = Annotated[str | None, strawberry.argument(description="A cursor; the page ends ahead of it.")]

_T = TypeVar("_T")


@strawberry.type(description="Position of a page in its list (Relay Cursor Connections).")
class PageInfo:
    """Where a page stands."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[_T]):
    """One item and its position."""

    cursor: str
    node: _T


@strawberry.type
class Connection(Generic[_T]):
    """One page of a list."""

    edges: list[Edge[_T]]
    nodes: list[_T] = strawberry.field(description="The nodes without their cursors.")
    page_info: PageInfo
    total_count: int = strawberry.field(description="Items in the whole list, before paging.")


@dataclass(frozen=True, slots=True)
class Page:
    """Which items are asked for: `size` of them, behind `after` or, backwards, ahead of `before`."""

    size: int
    after: str | None
    before: str | None
    is_backward: bool


@dataclass(frozen=True, slots=True)
class Found(Generic[_T]):
    """What a page turned out to hold; `has_next` and `has_previous` tell of items outside it."""

    nodes: Sequence[_T]
    has_next: bool
    has_previous: bool
    total_count: int


def read_page(first: int | None, after: str | None, last: int | None, before: str | None) -> Page:
    """Check the arguments of a connection and open its cursors.

    Raises:
        BadUserInput: The size is not from 1 to 100, the two directions are mixed, or a cursor is not one of
            this server's.
    """
    if (first is not None or after is not None) and (last is not None or before is not None):
        raise BadUserInput("Page in one direction: first and after, or last and before.")
    size = first if first is not None else last
    size = DEFAULT_PAGE if size is None else size
    if not 1 <= size <= LARGEST_PAGE:
        raise BadUserInput(f"Ask for 1 to {LARGEST_PAGE} items at once.")
    return Page(size, _opened(after), _opened(before), last is not None or before is not None)


def connect(found: Found[_T], identify: Callable[[_T], str]) -> Connection[_T]:
    """Return the connection over what was found; `identify` gives what a cursor stands for."""
    edges = [Edge(cursor=cursor_of(identify(node)), node=node) for node in found.nodes]
    return Connection(
        edges=edges,
        nodes=list(found.nodes),
        page_info=PageInfo(
            has_next_page=found.has_next,
            has_previous_page=found.has_previous,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        total_count=found.total_count,
    )


def slice_of(items: Sequence[_T], page: Page, identify: Callable[[_T], str]) -> Found[_T]:
    """Cut a page out of a list held in memory. `BadUserInput` when its cursor stands for no item."""
    positions = {identify(item): position for position, item in enumerate(items)}
    start = 0 if page.after is None else _position(positions, page.after) + 1
    end = len(items) if page.before is None else _position(positions, page.before)
    if page.is_backward:
        start = max(start, end - page.size)
    else:
        end = min(end, start + page.size)
    return Found(items[start:end], end < len(items), start > 0, len(items))


def cursor_of(identity: str) -> str:
    """Return the opaque cursor of an item."""
    return urlsafe_b64encode(f"{_PREFIX}{identity}".encode()).decode()


def refuse_cursor() -> BadUserInput:
    """Make the refusal of a cursor that stands for nothing here."""
    return BadUserInput("The cursor is not one of this list; take it from a page of the same list.")


def _opened(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        text = urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, ValueError):
        raise refuse_cursor() from None
    if not text.startswith(_PREFIX):
        raise refuse_cursor()
    return text.removeprefix(_PREFIX)


def _position(positions: dict[str, int], identity: str) -> int:
    if identity not in positions:
        raise refuse_cursor()
    return positions[identity]
