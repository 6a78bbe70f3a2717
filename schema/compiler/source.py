"""The text of a program while it grows, and the constants that its names stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

_NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")


class Source:
    """Functions in Python, and the objects bound to the names in them.

    Guarantee: nothing that a client wrote is part of the text but GraphQL names (specification, Name), and
    those only inside quotes.
    """

    def __init__(self, globals_: dict[str, object]) -> None:
        """Start with names that every function may use."""
        self._globals = dict(globals_)
        self._functions: list[str] = []
        self._count = 0

    @property
    def text(self) -> str:
        """All functions so far."""
        return "\n\n".join(self._functions)

    def bind(self, value: object, prefix: str) -> str:
        """Give an object a name and return it."""
        name = self.new_name(prefix)
        self._globals[name] = value
        return name

    def new_name(self, prefix: str) -> str:
        """Return a name that nothing else has."""
        self._count += 1
        return f"{prefix}_{self._count}"

    def add(self, head: str, body: Iterable[str]) -> None:
        """Add a function: its first line, and the lines of its body without their common indentation."""
        self._functions.append("\n".join((head, *(f"    {line}" for line in body))))

    def load(self, name: str) -> Any:
        """Compile the text and return one of its functions."""
        exec(compile(self.text, "<compiled operation>", "exec"), self._globals)  # noqa: S102 - see the class
        return self._globals[name]


def quoted(name: str) -> str:
    """Return a GraphQL name as a string of Python. Raises `ValueError` for anything else."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no GraphQL name")
    return repr(name)


def indented(lines: Iterable[str]) -> list[str]:
    """Return lines one step further in."""
    return [f"    {line}" for line in lines]
