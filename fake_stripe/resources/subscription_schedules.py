"""Subscription schedules (https://docs.stripe.com/api/subscription_schedules)."""

from __future__ import annotations

from fake_stripe import schedules, standing
from fake_stripe.errors import invalid
from fake_stripe.listing import matching, page
from fake_stripe.params import Params
from fake_stripe.periods import step
from fake_stripe.router import Route
from fake_stripe.world import Resource, World

_END_BEHAVIORS = ("cancel", "none", "release", "renew")
_PRORATIONS = ("always_invoice", "create_prorations", "none")
_ENDED = ("canceled", "completed", "released")


def create(world: World, params: Params) -> Resource:
    """Put a subscription that runs under a schedule; its one phase is the period under way."""
    name = params.required_text("from_subscription")
    subscription = world.get("subscription", name, "from_subscription")
    metadata = params.metadata()
    params.finish()
    if subscription["schedule"] is not None:
        raise invalid("You cannot migrate a subscription that is already attached to a schedule.")
    return begin(world, subscription, metadata)


def begin(world: World, subscription: Resource, metadata: dict[str, str]) -> Resource:
    """Make the schedule of a subscription and attach it."""
    first = subscription["items"]["data"][0]
    start, end = first["current_period_start"], first["current_period_end"]
    items = [
        {"price": item["price"]["id"], "quantity": item.get("quantity")}
        for item in subscription["items"]["data"]
    ]
    schedule: Resource = {
        "id": world.new_id("sub_sched"),
        "object": "subscription_schedule",
        "application": None,
        "billing_mode": dict(subscription["billing_mode"]),
        "canceled_at": None,
        "completed_at": None,
        "created": world.now(),
        "current_phase": {"start_date": start, "end_date": end},
        "customer": subscription["customer"],
        "customer_account": None,
        "default_settings": _default_settings(subscription),
        "end_behavior": "release",
        "livemode": False,
        "metadata": metadata,
        "pause_schedules": [],
        "phases": [_phase(world, subscription, items, (start, end), "create_prorations")],
        "released_at": None,
        "released_subscription": None,
        "status": "active",
        "subscription": subscription["id"],
        "test_clock": None,
    }
    world.add(schedule)
    world.emit("subscription_schedule.created", schedule)
    with world.changing(subscription, standing.UPDATED):
        subscription["schedule"] = schedule["id"]
    return schedule


def update(world: World, params: Params, name: str) -> Resource:
    """Give a schedule its phases: the one under way and those to come."""
    schedule = _running(world, name)
    subscription = world.get("subscription", schedule["subscription"])
    groups = params.groups("phases")
    phases = _read_phases(world, subscription, groups)
    behavior = params.choice("end_behavior", *_END_BEHAVIORS)
    metadata = params.metadata(schedule["metadata"])
    params.ignore("proration_behavior", "default_settings")
    params.finish()
    with world.changing(schedule, "subscription_schedule.updated"):
        schedule["end_behavior"] = behavior or schedule["end_behavior"]
        schedule["metadata"] = metadata
        if phases:
            schedule["phases"] = phases
            now = world.now()
            current = next((one for one in phases if one["start_date"] <= now < one["end_date"]), phases[0])
            schedule["current_phase"] = {name: current[name] for name in ("start_date", "end_date")}
    return schedule


def release(world: World, params: Params, name: str) -> Resource:
    """Let go of the subscription."""
    params.ignore("preserve_cancel_date")
    params.finish()
    schedule = _running(world, name)
    schedules.release(world, schedule)
    return schedule


def cancel(world: World, params: Params, name: str) -> Resource:
    """Cancel the schedule and its subscription at once."""
    params.ignore("invoice_now", "prorate")
    params.finish()
    schedule = _running(world, name)
    standing.cancel(world, world.get("subscription", schedule["subscription"]))
    return schedule


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one schedule."""
    params.finish()
    return world.get("subscription_schedule", name)


def list_schedules(world: World, params: Params) -> Resource:
    """Return schedules, newest first."""
    chosen = matching(world.all("subscription_schedule"), customer=params.text("customer"))
    result = page(params, "/v1/subscription_schedules", chosen)
    params.finish()
    return result


def plan_change(world: World, subscription: Resource, price: Resource) -> Resource:
    """Have a subscription go over to another price when its period ends."""
    schedule = world.find("subscription_schedule", subscription["schedule"]) or begin(world, subscription, {})
    first = subscription["items"]["data"][0]
    start, end = first["current_period_start"], first["current_period_end"]
    kept = [
        {"price": item["price"]["id"], "quantity": item.get("quantity")}
        for item in subscription["items"]["data"]
    ]
    then = [{"price": price["id"], "quantity": first.get("quantity", 1)}]
    after = step(end, price["recurring"], 1)
    with world.changing(schedule, "subscription_schedule.updated"):
        schedule["phases"] = [
            _phase(world, subscription, kept, (start, end), "none"),
            _phase(world, subscription, then, (end, after), "none"),
        ]
        schedule["current_phase"] = {"start_date": start, "end_date": end}
    return schedule


def _running(world: World, name: str) -> Resource:
    schedule = world.get("subscription_schedule", name)
    if schedule["status"] in _ENDED:
        raise invalid(f"This schedule is {schedule['status']} and can no longer be changed.")
    return schedule


def _read_phases(world: World, subscription: Resource, groups: list[Params]) -> list[Resource]:
    phases: list[Resource] = []
    for group in groups:
        items = [
            {
                "price": world.get("price", one.required_text("price"), one.path("price"))["id"],
                "quantity": one.integer("quantity") or 1,
            }
            for one in group.groups("items")
        ]
        if not items:
            raise invalid(
                f"Missing required param: {group.path('items')}.", group.path("items"), "parameter_missing"
            )
        start = group.integer("start_date")
        if start is None:
            first = subscription["items"]["data"][0]
            start = phases[-1]["end_date"] if phases else first["current_period_start"]
        end = group.integer("end_date") or _phase_end(world, group, items, start)
        proration = group.choice("proration_behavior", *_PRORATIONS) or "create_prorations"
        group.ignore("iterations", "metadata", "billing_cycle_anchor", "collection_method", "currency")
        phases.append(_phase(world, subscription, items, (start, end), proration))
    return phases


def _phase_end(world: World, group: Params, items: list[Resource], start: int) -> int:
    duration = group.group("duration")
    if duration is not None:
        recurring = {
            "interval": duration.choice("interval", "day", "week", "month", "year"),
            "interval_count": duration.integer("interval_count") or 1,
        }
        return step(start, recurring, 1)
    recurring = world.get("price", items[0]["price"])["recurring"]
    return step(start, recurring, group.integer("iterations") or 1)


def _phase(
    world: World, subscription: Resource, items: list[Resource], span: tuple[int, int], proration: str
) -> Resource:
    return {
        "add_invoice_items": [],
        "application_fee_percent": None,
        "billing_cycle_anchor": None,
        "billing_thresholds": None,
        "collection_method": None,
        "currency": subscription["currency"],
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "end_date": span[1],
        "invoice_settings": None,
        "items": [
            {
                "billing_thresholds": None,
                "discounts": [],
                "metadata": {},
                "plan": item["price"],
                "price": item["price"],
                "quantity": item["quantity"],
                "tax_rates": [],
            }
            for item in items
        ],
        "metadata": {},
        "on_behalf_of": None,
        "proration_behavior": proration,
        "start_date": span[0],
        "transfer_data": None,
        "trial_end": None,
    }


def _default_settings(subscription: Resource) -> Resource:
    return {
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": "automatic",
        "billing_thresholds": None,
        "collection_method": subscription["collection_method"],
        "default_payment_method": None,
        "description": None,
        "invoice_settings": {
            "account_tax_ids": None,
            "days_until_due": None,
            "issuer": {"account": None, "type": "self"},
        },
        "on_behalf_of": None,
        "transfer_data": None,
    }


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/subscription_schedules", create),
    ("GET", "/v1/subscription_schedules", list_schedules),
    ("GET", "/v1/subscription_schedules/{name}", retrieve),
    ("POST", "/v1/subscription_schedules/{name}", update),
    ("POST", "/v1/subscription_schedules/{name}/release", release),
    ("POST", "/v1/subscription_schedules/{name}/cancel", cancel),
)
