"""Content negotiation: which of the two media types a reply has (GraphQL over HTTP, section 6)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

GRAPHQL: Final = "application/graphql-response+json"
JSON: Final = "application/json"
HTML: Final = "text/html"

_WILDCARDS: Final = frozenset({"*/*", "application/*"})


@lru_cache(maxsize=256)
def negotiate(accept: str) -> str | None:
    """Return the media type to reply with, or None when neither will do.

    A client that names neither gets `application/json`, as clients older than the specification expect.
    """
    weights = _weights(accept or "*/*")
    best: dict[str, float] = {}
    for name, weight in weights.items():
        media = JSON if name in _WILDCARDS else name
        if media in (GRAPHQL, JSON) and weight > 0 and weights.get(media, 1) > 0:
            best[media] = max(weight, best.get(media, 0))
    return max(best, key=lambda media: (best[media], media == GRAPHQL), default=None)


@lru_cache(maxsize=256)
def names_graphql(accept: str) -> bool:
    """Tell whether a client names one of the two types: links, images and forms of other sites never do."""
    weights = _weights(accept)
    return any(weights.get(media, 0) > 0 for media in (GRAPHQL, JSON))


@lru_cache(maxsize=256)
def wants_page(accept: str) -> bool:
    """Tell whether a browser asks for a page."""
    return _weights(accept).get(HTML, 0) > 0 and not names_graphql(accept)


def _weights(accept: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        found[name] = min((_weight(each) for each in parameters if each.startswith("q=")), default=1.0)
    return found


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
