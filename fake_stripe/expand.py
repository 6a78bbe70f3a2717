"""`expand[]`: ids become the objects they name (https://docs.stripe.com/expand)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fake_stripe import invoicing
from fake_stripe.errors import invalid
from fake_stripe.listing import whole
from fake_stripe.resources import checkout_sessions
from fake_stripe.world import Resource, World, shown

_DEEPEST = 4
_KINDS = {
    "configuration": "billing_portal.configuration",
    "customer": "customer",
    "default_payment_method": "payment_method",
    "default_price": "price",
    "invoice": "invoice",
    "latest_invoice": "invoice",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "price": "price",
    "product": "product",
    "schedule": "subscription_schedule",
    "subscription": "subscription",
}


def expanded(world: World, resource: Resource, paths: list[str]) -> Resource:
    """Return a copy of an object or a list, shown, with the paths expanded.

    Raises a 400 for what cannot be expanded, and beyond four levels.
    """
    result = shown(resource)
    for path in paths:
        parts = path.split(".")
        if len(parts) > _DEEPEST:
            raise invalid("You cannot expand more than 4 levels of a property.", "expand")
        _expand(world, result, resource, parts, path)
    return result


def _expand(world: World, result: Any, source: Resource, parts: list[str], path: str) -> None:
    if isinstance(result, list):
        for part in result:
            _expand(world, part, part, parts, path)
        return
    name, *rest = parts
    if isinstance(result, dict) and result.get("object") == "list" and name == "data" and rest:
        _expand(world, result["data"], source, rest, path)
        return
    if not isinstance(result, dict):
        raise _refusal(path)
    if result.get("deleted"):
        return
    value = _look_up(world, result, name, path)
    if rest and value is not None:
        _expand(world, value, value, rest, path)


def _look_up(world: World, result: Resource, name: str, path: str) -> Any:
    include = _INCLUDED.get((result.get("object"), name))
    if include is not None:
        result.setdefault(name, include(world, world.get(result["object"], result["id"])))
    elif name not in result:
        raise _refusal(path)
    elif isinstance(result[name], str):
        result[name] = _object(world, result[name], name, path)
    elif name not in _KINDS and not isinstance(result[name], dict):
        raise _refusal(path)
    return result[name]


def _object(world: World, identifier: str, name: str, path: str) -> Resource:
    kind = _KINDS.get(name)
    if kind is None:
        raise _refusal(path)
    found = world.find(kind, identifier)
    return shown(found) if found else {"id": identifier, "object": kind, "deleted": True}


def _payments(world: World, invoice: Resource) -> Resource:
    payments = invoicing.payments_of(world, invoice)
    return whole([shown(one) for one in payments], f"/v1/invoice_payments?invoice={invoice['id']}")


def _confirmation_secret(world: World, invoice: Resource) -> Resource | None:
    intent = invoicing.intent_of(world, invoice)
    return intent and {"client_secret": intent["client_secret"], "type": "payment_intent"}


def _line_items(world: World, session: Resource) -> Resource:
    return shown(checkout_sessions.line_items(world, session))


def _subscriptions(world: World, customer: Resource) -> Resource:
    live = [
        shown(one)
        for one in world.all("subscription")
        if one["customer"] == customer["id"] and one["status"] != "canceled"
    ]
    return whole(live, f"/v1/customers/{customer['id']}/subscriptions")


def _tiers(world: World, price: Resource) -> Any:
    return price["_tiers"] or None


_INCLUDED: dict[tuple[Any, str], Callable[[World, Resource], Any]] = {
    ("checkout.session", "line_items"): _line_items,
    ("customer", "subscriptions"): _subscriptions,
    ("invoice", "confirmation_secret"): _confirmation_secret,
    ("invoice", "payments"): _payments,
    ("price", "tiers"): _tiers,
}
"""What an object carries only when it is asked for."""


def _refusal(path: str) -> Exception:
    return invalid(f"This property cannot be expanded ({path}).", "expand")
