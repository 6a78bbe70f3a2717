"""How a Checkout session ends without a sale."""

from __future__ import annotations

from fake_stripe.world import Resource, World


def expire(world: World, session: Resource) -> None:
    """Close a session, so that its page sells no more, and tell of it."""
    session |= {"status": "expired", "url": None}
    world.emit("checkout.session.expired", session)
