"""Type hints as values."""

from __future__ import annotations

from typing import Any, TypeAlias, get_origin

Hint: TypeAlias = Any
"""A type hint: no type of Python covers classes, generics and special forms alike."""


def origin_of(hint: Hint) -> Hint:
    """Return `list` of `list[str]`, `Union` of `str | None`, and None of what has no origin."""
    return get_origin(hint)
