"""`expand[]`: ids become the objects they name (https://docs.stripe.com/expand)."""

from __future__ import annotations

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
    included = _included(world, result, name)
    if included is not None:
        result[name] = included
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


def _included(world: World, result: Resource, name: str) -> Resource | None:
    """Return what an object carries only when it is asked for."""
    kind = result.get("object")
    source = world.find(kind, result.get("id")) if isinstance(kind, str) else None
    if source is None or (name in result and result[name] is not None):
        return None
    if (kind, name) == ("invoice", "payments"):
        payments = invoicing.payments_of(world, source)
        return whole([shown(one) for one in payments], f"/v1/invoice_payments?invoice={source['id']}")
    if (kind, name) == ("invoice", "confirmation_secret"):
        intent = invoicing.intent_of(world, source)
        return intent and {"client_secret": intent["client_secret"], "type": "payment_intent"}
    if (kind, name) == ("checkout.session", "line_items"):
        return shown(checkout_sessions.line_items(source))
    if (kind, name) == ("customer", "subscriptions"):
        live = [
            shown(one)
            for one in world.all("subscription")
            if one["customer"] == source["id"] and one["status"] != "canceled"
        ]
        return whole(live, f"/v1/customers/{source['id']}/subscriptions")
    if (kind, name) == ("price", "tiers"):
        return source["_tiers"] or None
    return None


def _refusal(path: str) -> Exception:
    return invalid(f"This property cannot be expanded ({path}).", "expand")
