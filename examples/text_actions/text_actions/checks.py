"""What every action refuses, said in one place."""

from __future__ import annotations

from api_factory import ActionError

LENGTH_MAX = 100_000
"""Characters of the longest text."""


def check_text(text: str) -> None:
    """Refuse a text without a word in it, or one too long to answer quickly.

    An `ActionError` reaches the client with its code, and a call that ends in one costs nothing.
    """
    if len(text) > LENGTH_MAX:
        raise ActionError(
            f"The text has {len(text)} characters and the maximum is {LENGTH_MAX}; send it in parts.",
            code="TEXT_TOO_LONG",
            length=len(text),
            maximum=LENGTH_MAX,
        )
    if not any(character.isalnum() for character in text):
        raise ActionError("The text has no words; send some.", code="TEXT_EMPTY")


def check_range(name: str, value: int, maximum: int) -> None:
    """Refuse a number below 1 or above its maximum."""
    if not 1 <= value <= maximum:
        raise ActionError(
            f"{name} is {value}; choose from 1 to {maximum}.", code="OUT_OF_RANGE", maximum=maximum
        )
