"""The list that every contender answers: 50 items of 5 fields."""

from __future__ import annotations

from typing import Final, TypedDict


class Item(TypedDict):
    """One item: an integer, a string, a number, an integer and a boolean."""

    id: int
    name: str
    price: float
    quantity: int
    active: bool


ITEMS: Final[list[Item]] = [
    {
        "id": number,
        "name": f"item {number}",
        "price": number + 0.25,
        "quantity": number % 7,
        "active": number % 2 == 0,
    }
    for number in range(50)
]
"""Prices are never whole, because JavaScript writes 2.0 as 2 and the replies must be of one length."""
