"""The customer portal's page: change the card, cancel and undo it, go to another price."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from fake_stripe import control, lifecycle, schedules, standing
from fake_stripe.cards import by_token
from fake_stripe.errors import StripeError, invalid
from fake_stripe.lifecycle import Terms
from fake_stripe.pages.render import gone, page, seen
from fake_stripe.pricing import plan_of
from fake_stripe.resources import subscription_schedules
from fake_stripe.world import Resource, World


async def show(world: World, request: Request) -> Response:
    """Show the customer's subscriptions, cards and invoices."""
    session = world.find("billing_portal.session", request.path_params["name"])
    if session is None or world.find("customer", session["customer"]) is None:
        return gone("This portal session does not exist.")
    return _show(world, session)


async def act(world: World, request: Request) -> Response:
    """Do what a button says, and show the portal again."""
    session = world.find("billing_portal.session", request.path_params["name"])
    if session is None or world.find("customer", session["customer"]) is None:
        return gone("This portal session does not exist.")
    form = await request.form()
    action = _ACTIONS.get(str(form.get("action")))
    if action is None:
        return _show(world, session, error="This portal has no such button.", status=400)
    try:
        action(world, session, form)
    except StripeError as error:
        return _show(world, session, error=str(error), status=error.status)
    return seen(f"/p/session/{session['id']}")


def _change_card(world: World, session: Resource, form: FormData) -> None:
    card = by_token(str(form.get("card")))
    if card is None:
        raise invalid("Choose a card.")
    control.give(world, world.get("customer", session["customer"]), card)


def _cancel_later(world: World, session: Resource, form: FormData) -> None:
    subscription = _subscription(world, session, form)
    with world.changing(subscription, standing.UPDATED):
        # Flexible billing, the default since clover, tells this by cancel_at alone.
        subscription["cancel_at"] = subscription["items"]["data"][0]["current_period_end"]
        subscription["canceled_at"] = world.now()
        subscription["cancellation_details"]["reason"] = "cancellation_requested"


def _cancel_now(world: World, session: Resource, form: FormData) -> None:
    lifecycle.end(world, _subscription(world, session, form))


def _keep(world: World, session: Resource, form: FormData) -> None:
    subscription = _subscription(world, session, form)
    with world.changing(subscription, standing.UPDATED):
        subscription |= {"cancel_at": None, "cancel_at_period_end": False, "canceled_at": None}
        subscription["cancellation_details"]["reason"] = None
    schedule = world.find("subscription_schedule", subscription["schedule"])
    if schedule is not None:
        schedules.release(world, schedule)


def _pause(world: World, session: Resource, form: FormData) -> None:
    lifecycle.pause(world, _subscription(world, session, form), credits_unused=True)


def _resume(world: World, session: Resource, form: FormData) -> None:
    lifecycle.resume(world, _subscription(world, session, form), restarts_period=True, needs_success=False)


def _change_price(world: World, session: Resource, form: FormData) -> None:
    subscription = _subscription(world, session, form)
    feature = _features(world, session)["subscription_update"]
    price = world.get("price", str(form.get("price")), "price")
    if price["id"] not in _offered(world, session):
        raise invalid("This price is not offered here.")
    first, *others = subscription["items"]["data"]
    conditions = {one["type"] for one in feature["schedule_at_period_end"]["conditions"]}
    is_cheaper = (price["unit_amount"] or 0) < (first["price"]["unit_amount"] or 0)
    if is_cheaper and "decreasing_item_amount" in conditions:
        subscription_schedules.plan_change(world, subscription, price)
        return
    changed = first | {"price": price, "plan": plan_of(price)}
    terms = Terms(proration=feature["proration_behavior"], payment="error_if_incomplete")
    lifecycle.change(world, subscription, [changed, *(dict(one) for one in others)], terms)


_ACTIONS: dict[str, Callable[[World, Resource, FormData], None]] = {
    "change_card": _change_card,
    "change_price": _change_price,
    "cancel_later": _cancel_later,
    "cancel_now": _cancel_now,
    "keep": _keep,
    "pause": _pause,
    "resume": _resume,
}


def _subscription(world: World, session: Resource, form: FormData) -> Resource:
    subscription = world.get("subscription", str(form.get("subscription")), "subscription")
    if subscription["customer"] != session["customer"] or subscription["status"] in standing.TERMINAL:
        raise invalid("This subscription has ended, or is somebody else's.")
    return subscription


def _features(world: World, session: Resource) -> Resource:
    features: Resource = world.get("billing_portal.configuration", session["configuration"])["features"]
    return features


def _offered(world: World, session: Resource) -> list[str]:
    feature = _features(world, session)["subscription_update"]
    if not feature["enabled"]:
        return []
    return [price for product in feature["products"] for price in product["prices"]]


def _show(world: World, session: Resource, error: str | None = None, status: int = 200) -> Response:
    name = session["customer"]
    return page(
        "portal.html",
        status,
        session=session,
        customer=world.get("customer", name),
        features=_features(world, session),
        prices=[world.get("price", one) for one in _offered(world, session)],
        subscriptions=[one for one in world.all("subscription") if one["customer"] == name],
        invoices=[one for one in reversed(world.all("invoice")) if one["customer"] == name],
        method=world.find("payment_method", _method_name(world, name)),
        error=error,
    )


def _method_name(world: World, customer: str) -> str | None:
    for subscription in world.all("subscription"):
        if subscription["customer"] == customer and subscription["default_payment_method"]:
            return str(subscription["default_payment_method"])
    default = world.get("customer", customer)["invoice_settings"]["default_payment_method"]
    return str(default) if default else None
