"""Idempotency keys (https://docs.stripe.com/api/idempotent_requests): kept for 24 hours."""

from __future__ import annotations

from dataclasses import dataclass, field

from fake_stripe.errors import idempotency_conflict
from fake_stripe.world import DAY_SECONDS, Resource, World


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its body, and headers of its own."""

    status: int
    body: Resource
    headers: dict[str, str] = field(default_factory=dict)


def remembered(world: World, key: str, path: str, query: str) -> Reply | None:
    """Return the reply that the key had before; refuse the key with another path or other parameters."""
    earlier = world.replies.get(key)
    if earlier is None or earlier["at"] < world.now() - DAY_SECONDS:
        return None
    if (earlier["path"], earlier["query"]) != (path, query):
        raise idempotency_conflict(key)
    headers = {"Idempotent-Replayed": "true", "Original-Request": earlier["request_id"]}
    return Reply(earlier["status"], earlier["body"], headers)


def store(world: World, key: str, path: str, query: str, reply: Reply, request_id: str) -> None:
    """Keep the reply of a request that was executed, a refused card's too."""
    world.replies[key] = {
        "at": world.now(),
        "path": path,
        "query": query,
        "status": reply.status,
        "body": reply.body,
        "request_id": request_id,
    }
