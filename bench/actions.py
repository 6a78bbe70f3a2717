"""The actions that are measured: one that is charged, the same for free and reserved, and a list."""

from __future__ import annotations

from dataclasses import dataclass

from api_factory import action
from bench.peers import items as peers


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What was asked, given back."""

    text: str
    number: int
    tags: list[str]


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list."""

    id: int
    name: str
    price: float
    quantity: int
    active: bool


_ITEMS = [Item(**item) for item in peers.ITEMS]


@action
async def mirror(text: str, number: int, tags: list[str]) -> Mirrored:
    """Give back what was asked, for one unit."""
    return Mirrored(text, number, tags)


@action(charge="free")
async def mirror_free(text: str, number: int, tags: list[str]) -> Mirrored:
    """Give back what was asked, for nothing."""
    return Mirrored(text, number, tags)


@action(kind="mutation", charge="reserve")
async def mirror_reserved(text: str, number: int, tags: list[str]) -> Mirrored:
    """Give back what was asked, for a unit that is set aside before and settled after."""
    return Mirrored(text, number, tags)


@action
async def items(count: int = 50) -> list[Item]:
    """Return so many items, for one unit."""
    return _ITEMS[:count]
