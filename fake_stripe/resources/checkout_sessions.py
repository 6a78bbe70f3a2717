"""Checkout sessions (https://docs.stripe.com/api/checkout/sessions): subscriptions, bought on a page."""

from __future__ import annotations

import copy

from fake_stripe import charging, lifecycle, selling
from fake_stripe.cards import Card
from fake_stripe.errors import invalid
from fake_stripe.listing import matching, page, whole
from fake_stripe.params import Params
from fake_stripe.resources import customers, payment_methods, subscriptions
from fake_stripe.resources.subscription_items import read_new
from fake_stripe.router import Route
from fake_stripe.world import DAY_SECONDS, Resource, World

_SHORTEST_SECONDS = 30 * 60
_BLANK: Resource = {
    "object": "checkout.session",
    "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
    "custom_fields": [],
    "custom_text": {
        "after_submit": None,
        "shipping_address": None,
        "submit": None,
        "terms_of_service_acceptance": None,
    },
    "discounts": [],
    "livemode": False,
    "mode": "subscription",
    "payment_method_options": {},
    "payment_method_types": ["card"],
    "payment_status": "unpaid",
    "phone_number_collection": {"enabled": False},
    "shipping_options": [],
    "status": "open",
    "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    "ui_mode": "hosted_page",
}
_NULL = (
    "adaptive_pricing",
    "after_expiration",
    "billing_address_collection",
    "client_secret",
    "collected_information",
    "consent",
    "consent_collection",
    "currency_conversion",
    "customer_account",
    "customer_details",
    "invoice",
    "invoice_creation",
    "locale",
    "origin_context",
    "payment_intent",
    "payment_link",
    "payment_method_configuration_details",
    "permissions",
    "recovered_from",
    "saved_payment_method_options",
    "setup_intent",
    "shipping_address_collection",
    "shipping_cost",
    "submit_type",
    "subscription",
    "wallet_options",
)


def create(world: World, params: Params) -> Resource:
    """Open a session for a subscription; its `url` is a page of this server."""
    if params.required_text("mode") != "subscription":
        raise invalid("This server sells subscriptions only: mode must be subscription.", "mode")
    params.choice("ui_mode", "hosted_page")
    name = world.new_id("cs_test")
    session = (
        copy.deepcopy(_BLANK)
        | dict.fromkeys(_NULL)
        | {
            "id": name,
            "created": world.now(),
            "expires_at": _expiry(world, params),
            "client_reference_id": params.text("client_reference_id"),
            "metadata": params.metadata(),
            "success_url": params.required_text("success_url"),
            "cancel_url": params.text("cancel_url"),
            "allow_promotion_codes": params.boolean("allow_promotion_codes"),
            "payment_method_collection": _collection(params),
            "locale": params.text("locale"),
            "url": f"{world.base_url}/c/pay/{name}",
        }
    )
    _set_customer(world, params, session)
    session["_subscription"] = _plan_subscription(world, params, session)
    params.ignore(
        "automatic_tax",
        "tax_id_collection",
        "customer_update",
        "billing_address_collection",
        "payment_method_types",
        "saved_payment_method_options",
        "customer_creation",
    )
    params.finish()
    return world.add(session)


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one session."""
    params.finish()
    return world.get("checkout.session", name)


def list_sessions(world: World, params: Params) -> Resource:
    """Return sessions, newest first."""
    chosen = matching(
        world.all("checkout.session"),
        customer=params.text("customer"),
        subscription=params.text("subscription"),
        status=params.choice("status", "complete", "expired", "open"),
    )
    result = page(params, "/v1/checkout/sessions", chosen)
    params.finish()
    return result


def list_line_items(world: World, params: Params, name: str) -> Resource:
    """Return what a session sells."""
    items = world.get("checkout.session", name)["_subscription"]["items"]["data"]
    lines = [_line_item(world, item) for item in items]
    result = page(params, f"/v1/checkout/sessions/{name}/line_items", list(reversed(lines)))
    params.finish()
    return result


def line_items(world: World, session: Resource) -> Resource:
    """Return the list of what a session sells, as `expand[]=line_items` shows it."""
    lines = [_line_item(world, item) for item in session["_subscription"]["items"]["data"]]
    return whole(lines, f"/v1/checkout/sessions/{session['id']}/line_items")


def expire(world: World, params: Params, name: str) -> Resource:
    """Close a session that is open; its page sells no more."""
    params.finish()
    session = world.get("checkout.session", name)
    if session["status"] != "open":
        raise invalid(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This one is '
            f"{session['status']}."
        )
    selling.expire(world, session)
    return session


def pay(
    world: World, session: Resource, card: Card, *, email: str | None, authenticates: bool = False
) -> None:
    """Do what the buyer does on the page: start the subscription with a card.

    Raises the card's refusal, and leaves the session open. `authenticates` is the buyer's yes to the bank.
    """
    if session["status"] != "open":
        raise invalid(f"This Checkout Session is {session['status']}.")
    method = payment_methods.fresh(world, card)
    refused = charging.refusal(method) if _charges_now(session) or not card.attaches else None
    if refused is not None and not authenticates:
        raise refused
    customer = _customer(world, session, email)
    behaviour, method["_behaviour"] = method["_behaviour"], "succeeds"
    payment_methods.attach_to(world, method, customer)
    subscription = _start(world, session, customer, method)
    method["_behaviour"] = behaviour
    _complete(world, session, customer, subscription)


def _complete(world: World, session: Resource, customer: Resource, subscription: Resource) -> None:
    session |= {
        "status": "complete",
        "url": None,
        "customer": customer["id"],
        "customer_details": {
            "address": None,
            "business_name": None,
            "email": customer["email"],
            "individual_name": None,
            "name": customer["name"],
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        },
        "subscription": subscription["id"],
        "invoice": subscription["latest_invoice"],
        "payment_status": "paid" if _charges_now(session) else "no_payment_required",
    }
    world.emit("checkout.session.completed", session)


def _start(world: World, session: Resource, customer: Resource, method: Resource) -> Resource:
    subscription: Resource = session["_subscription"]
    now = world.now()
    subscription |= {
        "created": now,
        "start_date": now,
        "customer": customer["id"],
        "default_payment_method": method["id"],
    }
    if session["_trial_days"]:
        subscription |= {"trial_start": now, "trial_end": now + session["_trial_days"] * DAY_SECONDS}
    subscriptions.set_items(world, subscription, subscription["items"]["data"])
    lifecycle.start(world, subscription, "allow_incomplete")
    return subscription


def _customer(world: World, session: Resource, email: str | None) -> Resource:
    if session["customer"] is not None:
        return world.get("customer", session["customer"])
    customer = customers.blank(world) | {"email": session["customer_email"] or email}
    world.add(customer)
    world.emit("customer.created", customer)
    return customer


def _charges_now(session: Resource) -> bool:
    return not session["_trial_days"] and session["amount_total"] > 0


def _set_customer(world: World, params: Params, session: Resource) -> None:
    name, email = params.text("customer"), params.text("customer_email")
    if name and email:
        raise invalid("You may only specify one of these parameters: customer, customer_email.", "customer")
    if name is not None:
        world.get("customer", name, "customer")
    session |= {
        "customer": name,
        "customer_email": email,
        "customer_creation": None if name else "always",
    }


def _plan_subscription(world: World, params: Params, session: Resource) -> Resource:
    data = params.group("subscription_data")
    subscription = subscriptions.blank(world, {"id": session["customer"]})
    session["_trial_days"] = None
    if data is not None:
        subscription["metadata"] = data.metadata()
        subscription["description"] = data.text("description")
        subscriptions.set_trial(world, data, subscription)
        if subscription["trial_end"] is not None:
            session["_trial_days"] = (subscription["trial_end"] - world.now()) // DAY_SECONDS
        data.ignore("billing_mode", "proration_behavior")
    groups = params.groups("line_items")
    for group in groups:
        group.ignore("adjustable_quantity")
    items = read_new(world, subscription, groups)
    subscriptions.set_items(world, subscription, items)
    total = sum(_line_item(world, item)["amount_total"] for item in items)
    session |= {"amount_subtotal": total, "amount_total": total, "currency": subscription["currency"]}
    if session["_trial_days"]:
        session |= {"amount_subtotal": 0, "amount_total": 0}
    return subscription


def _line_item(world: World, item: Resource) -> Resource:
    price, quantity = item["price"], item.get("quantity")
    total = (price["unit_amount"] or 0) * (quantity or 0)
    return {
        "id": "li_" + item["id"].removeprefix("si_"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": price["currency"],
        "description": world.get("product", price["product"])["name"],
        "metadata": {},
        "price": price,
        "quantity": quantity,
    }


def _expiry(world: World, params: Params) -> int:
    expires_at = params.integer("expires_at")
    if expires_at is None:
        return world.now() + DAY_SECONDS
    if not world.now() + _SHORTEST_SECONDS <= expires_at <= world.now() + DAY_SECONDS:
        raise invalid(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.", "expires_at"
        )
    return expires_at


def _collection(params: Params) -> str:
    return params.choice("payment_method_collection", "always", "if_required") or "always"


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/checkout/sessions", create),
    ("GET", "/v1/checkout/sessions", list_sessions),
    ("GET", "/v1/checkout/sessions/{name}", retrieve),
    ("GET", "/v1/checkout/sessions/{name}/line_items", list_line_items),
    ("POST", "/v1/checkout/sessions/{name}/expire", expire),
)
