"""Face 1, GraphQL: the catalogue and the keys as one typed schema; it translates, the engine decides."""

from __future__ import annotations
