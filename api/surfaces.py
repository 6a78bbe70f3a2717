"""The surfaces of the server: what a path belongs to."""

from __future__ import annotations

from typing import Final

_SURFACES: Final = {"/graphql": "graphql", "/metrics": "metrics", "/schema.graphql": "schema"}
_SURFACE_PREFIXES: Final = (
    ("/api/", "rest"),
    ("/_api/", "health"),
    ("/graphql/", "graphql"),
    ("/webhooks/", "webhooks"),
)

FOR_CLIENTS: Final = frozenset({"graphql", "rest", "schema"})
"""The surfaces of API clients: authorised by a header alone, never by a cookie."""


def surface_of(path: str) -> str:
    """Name the surface that a path belongs to, a label of the metrics."""
    surface = _SURFACES.get(path)
    if surface is not None:
        return surface
    return next((name for prefix, name in _SURFACE_PREFIXES if path.startswith(prefix)), "other")
