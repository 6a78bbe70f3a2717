"""The form encoding of Stripe's API: brackets nest, `[]` and numbers make lists."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from fake_stripe.errors import invalid

_BRACKET = re.compile(r"\[([^\]]*)\]")
_MOST_FIELDS = 1_000
_DEEPEST = 10


def decode(text: str) -> dict[str, Any]:
    """Return the values of `a=1&b[c]=2&d[0]=3&e[]=4`: texts, mappings and lists of them.

    Raises a 400 for more than 1,000 fields, ten levels, or names that contradict each other.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise invalid("The request's form fields could not be read.") from None
    tree: dict[str, Any] = {}
    for name, value in pairs:
        _put(tree, _path(name), value)
    return {name: _lists(value) for name, value in tree.items()}


def _path(name: str) -> list[str]:
    head, bracket, rest = name.partition("[")
    path = [head, *_BRACKET.findall(bracket + rest)]
    if len(path) > _DEEPEST:
        raise invalid(f"Invalid parameter name: {name}")
    return path


def _put(tree: dict[str, Any], path: list[str], value: str) -> None:
    *parents, last = path
    for part in parents:
        tree = tree.setdefault(part or str(len(tree)), {})
        if not isinstance(tree, dict):
            raise invalid(f"Invalid parameter name: {'.'.join(path)}")
    tree[last or str(len(tree))] = value


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(name.isdecimal() for name in value):
        return [_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _lists(part) for name, part in value.items()}
