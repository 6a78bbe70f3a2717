"""The audit log: who did what to what. Meaning, guarantees and boundaries: README.md."""

from __future__ import annotations

from api_factory.audit.model import Actor, ActorKind, Entry
from api_factory.audit.service import Audit

__all__ = ["Actor", "ActorKind", "Audit", "Entry"]
