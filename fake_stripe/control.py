"""`/_fake/...`: what a test or a developer does that nobody can do at Stripe. JSON in, JSON out."""

from __future__ import annotations

from typing import Any

from fake_stripe import agenda, cards, faults
from fake_stripe.clock import Clock
from fake_stripe.delivery import Courier
from fake_stripe.errors import invalid, missing
from fake_stripe.params import Params
from fake_stripe.resources import checkout_sessions, payment_methods, webhook_endpoints
from fake_stripe.router import Route
from fake_stripe.world import DAY_SECONDS, Resource, World, shown

_POLICY_CHOICES = {
    "first_failure": ("past_due", "pause"),
    "final_action": ("cancel", "unpaid", "past_due", "pause"),
}


def show(world: World, params: Params) -> Resource:
    """Return the time, the policy, the faults, and how many objects there are."""
    params.finish()
    return {
        "now": world.now(),
        "seed": world.seed,
        "policy": _policy(world),
        "faults": world.faults,
        "objects": {kind.lstrip("_"): len(table) for kind, table in sorted(world.tables.items())},
    }


def advance(world: World, params: Params) -> Resource:
    """Move the clock on by `seconds` or `days`, or `to` a time, and do what falls due meanwhile."""
    seconds = (params.integer("seconds") or 0) + (params.integer("days") or 0) * DAY_SECONDS
    target = params.integer("to")
    params.finish()
    if target is not None:
        seconds = target - world.now()
    done = agenda.advance(world, seconds)
    return {"now": world.now(), "done": done}


def reset(world: World, params: Params) -> Resource:
    """Forget everything but the webhook endpoints' settings when `keeps_endpoints`; start with a seed."""
    seed, stands_at = params.text("seed"), params.integer("stands_at")
    keeps = params.boolean("keeps_endpoints")
    params.finish()
    endpoints = world.tables.get("webhook_endpoint", {}) if keeps else {}
    fresh = World(seed=seed or world.seed, clock=Clock(stands_at=stands_at), base_url=world.base_url)
    for name in ("seed", "clock", "policy", "cause", "tables", "replies", "faults", "drawn"):
        setattr(world, name, getattr(fresh, name))
    world.tables["webhook_endpoint"] = endpoints
    return show(world, Params({}))


def set_policy(world: World, params: Params) -> Resource:
    """Set what Stripe's dashboard sets: retries, what first and last failures do, held deliveries."""
    for name, options in _POLICY_CHOICES.items():
        chosen = params.choice(name, *options)
        setattr(world.policy, name, chosen or getattr(world.policy, name))
    days = params.texts("retry_after_days")
    if days is not None:
        if not all(day.isascii() and day.isdecimal() and 0 < len(day) < 4 for day in days):
            raise invalid(
                "Invalid retry_after_days: whole numbers of days, each below 1,000.", "retry_after_days"
            )
        world.policy.retry_after_days = [int(day) for day in days]
    seconds = params.integer("finalize_after_seconds")
    if seconds is not None:
        world.policy.finalize_after_seconds = seconds
    holds = params.boolean("holds_deliveries")
    world.policy.holds_deliveries = world.policy.holds_deliveries if holds is None else holds
    params.finish()
    return _policy(world)


def add_fault(world: World, params: Params) -> Resource:
    """Let something go wrong from now on."""
    fault = faults.read(params)
    world.faults.append(fault)
    return fault


def clear_faults(world: World, params: Params) -> Resource:
    """Let nothing go wrong any more."""
    params.finish()
    world.faults.clear()
    return {"faults": []}


def set_card(world: World, params: Params, name: str) -> Resource:
    """Give a payment method another behaviour: succeeds, requires_authentication, or a decline code."""
    method = world.get("payment_method", name)
    behaviour = params.choice("behaviour", cards.SUCCEEDS, cards.AUTHENTICATION, *sorted(cards.DECLINES))
    params.finish()
    method["_behaviour"] = behaviour or cards.SUCCEEDS
    return {"payment_method": name, "behaviour": method["_behaviour"]}


def give_card(world: World, params: Params, name: str) -> Resource:
    """Attach a test card to a customer and make it the default, as a portal would."""
    customer = world.get("customer", name)
    card = card_of(params)
    params.finish()
    return give(world, customer, card)


def give(world: World, customer: Resource, card: cards.Card) -> Resource:
    """Attach a test card to a customer and make it the default of the customer and its subscriptions."""
    method = payment_methods.attach_to(world, payment_methods.fresh(world, card), customer)
    with world.changing(customer, "customer.updated"):
        customer["invoice_settings"]["default_payment_method"] = method["id"]
    for subscription in world.all("subscription"):
        if subscription["customer"] == customer["id"] and subscription["default_payment_method"]:
            with world.changing(subscription, "customer.subscription.updated"):
                subscription["default_payment_method"] = method["id"]
    return method


def pay_checkout(world: World, params: Params, name: str) -> Resource:
    """Do what a buyer does on the Checkout page."""
    session = world.get("checkout.session", name)
    card, email = card_of(params), params.text("email")
    authenticates = bool(params.boolean("authenticates"))
    params.finish()
    checkout_sessions.pay(world, session, card, email=email, authenticates=authenticates)
    return session


def set_endpoint(world: World, params: Params) -> Resource:
    """Have one endpoint at a `url`, which signs with the `secret`; `is_only` removes all others."""
    secret = params.required_text("secret")
    url, is_only = params.text("url"), params.boolean("is_only")
    for endpoint in world.all("webhook_endpoint"):
        if is_only or endpoint["url"] == url:
            world.remove(endpoint)
    return webhook_endpoints.make(world, params, secret)


def roll_secret(world: World, params: Params, name: str) -> Resource:
    """Give an endpoint a new secret; for `overlap_seconds` both sign."""
    endpoint = world.get("webhook_endpoint", name)
    overlap = params.integer("overlap_seconds")
    params.finish()
    secret = webhook_endpoints.roll(world, endpoint, DAY_SECONDS if overlap is None else overlap)
    return {"id": name, "secret": secret}


def emit(world: World, params: Params) -> Resource:
    """Write an event of any type about an object, whether or not it changed."""
    kind, name = params.required_text("type"), params.required_text("object")
    params.finish()
    return world.emit(kind, _any(world, name))


def patch(world: World, params: Params, name: str) -> Resource:
    """Overwrite fields of an object, such as a status that no Stripe has yet; no event tells of it."""
    resource = _any(world, name)
    values = params.raw("fields")
    params.finish()
    if not isinstance(values, dict):
        raise invalid("Invalid object", "fields")
    resource |= values
    return resource


def list_deliveries(world: World, params: Params) -> Resource:
    """Return the deliveries, oldest first: those that are over, then those to come."""
    state = params.text("state")
    params.finish()
    everything = world.all("_done_delivery") + world.all("_delivery")
    found = [shown(one) | {"object": "delivery"} for one in everything if state in (None, one["state"])]
    return {"object": "list", "data": found}


def release(world: World, params: Params) -> Resource:
    """Send held deliveries: all or those of `ids`, in the order of `order`: queued, shuffled or reversed."""
    ids = params.texts("ids")
    order = params.choice("order", "queued", "shuffled", "reversed") or "queued"
    params.finish()
    held = [one for one in world.all("_delivery") if one["state"] == "held" and (not ids or one["id"] in ids)]
    for place, delivery in enumerate(held):
        delivery["state"] = "fresh"
        if order == "shuffled":
            delivery["place"] = world.chance()
        elif order == "reversed":
            delivery["place"] = float(len(held) - place)
    world.notify()
    return {"released": len(held)}


def resend(world: World, params: Params, name: str) -> Resource:
    """Deliver an event once more to every endpoint that wants it, as the dashboard's Resend does."""
    params.finish()
    event = world.get("event", name)
    world.post(event)
    return event


async def settle(courier: Courier, values: dict[str, Any]) -> Resource:
    """Wait until no delivery is due, `timeout_seconds` at most."""
    return {"is_settled": await courier.settle(float(values.get("timeout_seconds", 10)))}


def card_of(params: Params) -> cards.Card:
    """Return the test card that a request names by its token."""
    token = params.text("card") or "pm_card_visa"
    card = cards.by_token(token)
    if card is None:
        raise missing("test card", token, "card")
    return card


def _policy(world: World) -> Resource:
    return {name: getattr(world.policy, name) for name in world.policy.__slots__}


def _any(world: World, name: str) -> Resource:
    for kind, table in world.tables.items():
        if name in table and not kind.startswith("_"):
            return table[name]
    raise missing("object", name)


ROUTES: tuple[Route, ...] = (
    ("GET", "/_fake", show),
    ("POST", "/_fake/advance", advance),
    ("POST", "/_fake/reset", reset),
    ("POST", "/_fake/policy", set_policy),
    ("POST", "/_fake/faults", add_fault),
    ("DELETE", "/_fake/faults", clear_faults),
    ("POST", "/_fake/cards/{name}", set_card),
    ("POST", "/_fake/customers/{name}/card", give_card),
    ("POST", "/_fake/checkout/{name}/pay", pay_checkout),
    ("POST", "/_fake/webhook_endpoints", set_endpoint),
    ("POST", "/_fake/webhook_endpoints/{name}/roll", roll_secret),
    ("POST", "/_fake/events", emit),
    ("POST", "/_fake/events/{name}/resend", resend),
    ("POST", "/_fake/objects/{name}", patch),
    ("GET", "/_fake/deliveries", list_deliveries),
    ("POST", "/_fake/deliveries/release", release),
)
