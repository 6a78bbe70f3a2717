"""Stripe's cursors: newest first, `limit`, `starting_after`, `ending_before`, `has_more`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fake_stripe.errors import invalid, missing
from fake_stripe.params import Params
from fake_stripe.world import Resource

_DEFAULT_LIMIT = 10
_MOST = 100
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "gt": int.__gt__,
    "gte": int.__ge__,
    "lt": int.__lt__,
    "lte": int.__le__,
}


def page(params: Params, url: str, oldest_first: Sequence[Resource]) -> Resource:
    """Return the page that the parameters ask for."""
    limit = params.integer("limit")
    limit = _DEFAULT_LIMIT if limit is None else limit
    if not 1 <= limit <= _MOST:
        raise invalid(f"Invalid limit: must be between 1 and {_MOST}", "limit")
    newest_first = list(reversed(oldest_first))
    after, before = params.text("starting_after"), params.text("ending_before")
    if before is not None:
        earlier = newest_first[: _place(newest_first, before, "ending_before")]
        chosen, has_more = earlier[-limit:], len(earlier) > limit
    else:
        start = 0 if after is None else _place(newest_first, after, "starting_after") + 1
        chosen, has_more = newest_first[start : start + limit], len(newest_first) > start + limit
    return {"object": "list", "data": chosen, "has_more": has_more, "url": url}


def whole(resources: Sequence[Resource], url: str) -> Resource:
    """Return a list that an object carries within itself."""
    return {"object": "list", "data": list(resources), "has_more": False, "url": url}


def is_within(params: Params, name: str) -> Callable[[int], bool]:
    """Return the test of `created[gte]=...` and its like, or of a plain `created=...`."""
    if params.is_group(name):
        return _range(params.group(name))
    exact = params.integer(name)
    return lambda moment: exact is None or moment == exact


def _range(bounds: Params | None) -> Callable[[int], bool]:
    limits: list[tuple[Callable[[int, int], bool], int]] = []
    if bounds is not None:
        for word, compare in _COMPARISONS.items():
            limit = bounds.integer(word)
            if limit is not None:
                limits.append((compare, limit))
    return lambda moment: all(compare(moment, limit) for compare, limit in limits)


def _place(resources: Sequence[Resource], name: str, param: str) -> int:
    for place, resource in enumerate(resources):
        if resource["id"] == name:
            return place
    raise missing("object", name, param)


def matching(resources: Sequence[Resource], **wanted: Any) -> list[Resource]:
    """Return the objects whose fields have the wanted values; None is no condition."""
    return [
        resource
        for resource in resources
        if all(value is None or resource.get(name) == value for name, value in wanted.items())
    ]
