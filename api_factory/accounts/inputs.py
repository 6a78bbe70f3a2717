"""Text from outside, checked once at the edge of a slice."""

from __future__ import annotations

from api_factory.errors import BadUserInput
from api_factory.printable import STEERING

LARGEST_UNITS = 2**63 - 1


def is_storable(text: str) -> bool:
    """Say whether PostgreSQL can hold the text: no NUL, and nothing that is not a character."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_text(label: str, text: str, *, longest: int, required: bool = False) -> str:
    """Return the text without surrounding space.

    Raises `BadUserInput` when it cannot be stored, or would steer the terminal or page that shows it.
    """
    stripped = text.strip()
    if len(stripped) > longest:
        raise BadUserInput(f"The {label} is longer than {longest} characters; shorten it.")
    if not is_storable(stripped):
        raise BadUserInput(f"The {label} holds a character that cannot be stored; remove it.")
    if STEERING.search(stripped):
        raise BadUserInput(
            f"The {label} holds a control character or one that turns the direction of text; remove it."
        )
    if required and not stripped:
        raise BadUserInput(f"The {label} is empty; give one.")
    return stripped


def checked_units(label: str, units: int | None) -> int | None:
    """Return a number of units; None stays None. Raises `BadUserInput` when it is out of range."""
    if units is not None and not 0 <= units <= LARGEST_UNITS:
        raise BadUserInput(f"The {label} is {units} units; it must be from 0 to {LARGEST_UNITS}.")
    return units
