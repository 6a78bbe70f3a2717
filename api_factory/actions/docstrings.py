"""Google-style docstrings, read for the help texts of the API."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Yields|Examples?|Notes?|Todo):\s*$")
_ENTRY = re.compile(r"(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Docstring:
    """What clients read: the head keeps its Markdown, all else is one line a paragraph."""

    head: str | None = None
    entries: dict[str, str] = field(default_factory=dict)
    returns: str | None = None


def parse_docstring(text: str | None) -> Docstring:
    """Read the head, what Args or Attributes say of each name, and Returns."""
    sections = _sections(inspect.cleandoc(text or ""))
    entries: dict[str, str] = {}
    for title in ("Args", "Arguments", "Attributes"):
        entries |= _entries(sections.get(title, []))
    head = "\n".join(sections[""]).strip() or None
    return Docstring(head, entries, _paragraphs(sections.get("Returns", [])))


def docstring_of(cls: type) -> Docstring:
    """Read the docstring written for a class itself; one inherited or generated says nothing."""
    text = cls.__dict__.get("__doc__")
    is_generated = isinstance(text, str) and text.startswith(f"{cls.__name__}(")
    return parse_docstring(None if is_generated else text)


def _sections(text: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {"": []}
    lines = sections[""]
    for line in text.splitlines():
        if match := _SECTION.match(line):
            lines = sections.setdefault(match[1], [])
        else:
            lines.append(line)
    return sections


def _entries(lines: list[str]) -> dict[str, str]:
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        is_first = len(line) - len(line.lstrip()) == min(indents, default=0)
        if is_first and (match := _ENTRY.match(line.strip())):
            current = found.setdefault(match[1], [])
            current.append(match[2])
        else:
            current.append(line)
    return {name: said for name, rest in found.items() if (said := _paragraphs(rest))}


def _paragraphs(lines: list[str]) -> str | None:
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return "\n\n".join(" ".join(block.split()) for block in blocks) or None
