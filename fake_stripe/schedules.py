"""Subscription schedules as they pass from phase to phase.

https://docs.stripe.com/billing/subscriptions/subscription-schedules
"""

from __future__ import annotations

from fake_stripe import lifecycle, standing
from fake_stripe.lifecycle import Terms
from fake_stripe.pricing import plan_of
from fake_stripe.world import Resource, World


def next_boundary(schedule: Resource) -> int | None:
    """Return when the phase under way ends, None for a schedule that has ended."""
    if schedule["status"] != "active" or schedule["current_phase"] is None:
        return None
    return int(schedule["current_phase"]["end_date"])


def enter_next_phase(world: World, schedule: Resource) -> None:
    """Leave the phase under way for the next one, or end the schedule as `end_behavior` says."""
    subscription = world.get("subscription", schedule["subscription"])
    ended = schedule["current_phase"]["end_date"]
    following = [phase for phase in schedule["phases"] if phase["start_date"] >= ended]
    if not following:
        _finish(world, schedule, subscription)
        return
    phase = following[0]
    schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
    world.emit("subscription_schedule.updated", schedule)
    terms = Terms(proration="none" if _is_at_boundary(subscription, ended) else phase["proration_behavior"])
    lifecycle.change(world, subscription, _items(world, subscription, phase), terms)


def release(world: World, schedule: Resource) -> None:
    """Let go of the subscription, which stays as it is."""
    subscription = world.get("subscription", schedule["subscription"])
    schedule |= {
        "status": "released",
        "released_at": world.now(),
        "released_subscription": subscription["id"],
        "subscription": None,
        "current_phase": None,
    }
    world.emit("subscription_schedule.released", schedule)
    with world.changing(subscription, standing.UPDATED):
        subscription["schedule"] = None


def _finish(world: World, schedule: Resource, subscription: Resource) -> None:
    if schedule["end_behavior"] == "cancel":
        lifecycle.end(world, subscription)
        return
    release(world, schedule)


def _is_at_boundary(subscription: Resource, moment: int) -> bool:
    return any(item["current_period_end"] == moment for item in subscription["items"]["data"])


def _items(world: World, subscription: Resource, phase: Resource) -> list[Resource]:
    # Items keep their ids as far as there are any, so that whoever knows one still finds it.
    had = subscription["items"]["data"]
    items = []
    for place, wanted in enumerate(phase["items"]):
        price = world.get("price", wanted["price"])
        item = dict(had[min(place, len(had) - 1)])
        if place >= len(had):
            item["id"] = world.new_id("si")
        item |= {"price": price, "plan": plan_of(price)}
        if price["recurring"]["usage_type"] == "metered":
            item.pop("quantity", None)
        else:
            item["quantity"] = wanted["quantity"]
        items.append(item)
    return items
