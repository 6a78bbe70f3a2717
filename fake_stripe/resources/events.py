"""Events (https://docs.stripe.com/api/events): kept for 30 days, as at Stripe."""

from __future__ import annotations

from fake_stripe.errors import invalid
from fake_stripe.listing import is_within, page
from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.world import DAY_SECONDS, Resource, World

_KEPT_SECONDS = 30 * DAY_SECONDS
_MOST_TYPES = 20


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one event."""
    params.finish()
    return world.get("event", name)


def list_events(world: World, params: Params) -> Resource:
    """Return events of the last 30 days, newest first."""
    types, kind = params.texts("types"), params.text("type")
    if types is not None and kind is not None:
        raise invalid("You may only specify one of these parameters: type, types.", "types")
    if types is not None and len(types) > _MOST_TYPES:
        raise invalid(f"You may only specify up to {_MOST_TYPES} types.", "types")
    was_created, succeeded = is_within(params, "created"), params.boolean("delivery_success")
    wanted = types or ([kind] if kind else None)
    oldest = world.now() - _KEPT_SECONDS
    chosen = [
        event
        for event in world.all("event")
        if event["created"] >= oldest
        and was_created(event["created"])
        and _is_wanted(event, wanted)
        and (succeeded is None or succeeded == (event["pending_webhooks"] == 0))
    ]
    result = page(params, "/v1/events", chosen)
    params.finish()
    return result


def _is_wanted(event: Resource, wanted: list[str] | None) -> bool:
    return wanted is None or any(
        event["type"] == kind or (kind.endswith("*") and event["type"].startswith(kind[:-1]))
        for kind in wanted
    )


ROUTES: tuple[Route, ...] = (
    ("GET", "/v1/events", list_events),
    ("GET", "/v1/events/{name}", retrieve),
)
