"""Payment methods (https://docs.stripe.com/api/payment_methods): cards, and test tokens for them."""

from __future__ import annotations

import hashlib

from fake_stripe import cards
from fake_stripe.cards import Card
from fake_stripe.errors import card_error, invalid
from fake_stripe.listing import matching, page
from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.world import Resource, World

_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")


def create(world: World, params: Params) -> Resource:
    """Make a card from a test number or a test token (`card[token]=tok_visa`)."""
    kind = params.choice("type", "card")
    if kind is None:
        raise invalid("Missing required param: type.", "type", "parameter_missing")
    card = _card(params)
    metadata = params.metadata()
    params.ignore("billing_details", "allow_redisplay")
    params.finish()
    return world.add(fresh(world, card) | {"metadata": metadata})


def fresh(world: World, card: Card) -> Resource:
    """Return a payment method of a test card; it is kept once it is attached or pays."""
    return {
        "id": world.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": dict.fromkeys(_ADDRESS),
            "email": None,
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        "card": _printed(card),
        "created": world.now(),
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
        "_behaviour": card.behaviour,
        "_attaches": card.attaches,
    }


def find(world: World, name: str, param: str | None = None) -> Resource:
    """Return the payment method; a test token gives a fresh one, as it does at Stripe."""
    card = cards.by_token(name)
    return fresh(world, card) if card else world.get("payment_method", name, param)


def attach(world: World, params: Params, name: str) -> Resource:
    """Attach a payment method to a customer."""
    customer = world.get("customer", params.required_text("customer"), "customer")
    params.finish()
    return attach_to(world, find(world, name), customer)


def attach_to(world: World, method: Resource, customer: Resource) -> Resource:
    """Attach it; cards that their bank declines at once cannot be, as at Stripe."""
    if method["customer"] == customer["id"]:
        return method
    if method["customer"] is not None:
        raise invalid(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_unexpected_state",
        )
    if not method["_attaches"]:
        behaviour = method["_behaviour"]
        raise card_error(cards.error_code(behaviour), cards.message(behaviour), cards.decline_code(behaviour))
    method["customer"] = customer["id"]
    world.add(method)
    world.emit("payment_method.attached", method)
    return method


def detach(world: World, params: Params, name: str) -> Resource:
    """Take a payment method from its customer; whatever used it by default does no longer."""
    params.finish()
    method = world.get("payment_method", name)
    if method["customer"] is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    customer = world.get("customer", method["customer"])
    method["customer"] = None
    world.emit("payment_method.detached", method, {"customer": customer["id"]})
    with world.changing(customer, "customer.updated"):
        if customer["invoice_settings"]["default_payment_method"] == name:
            customer["invoice_settings"]["default_payment_method"] = None
    for subscription in matching(world.all("subscription"), default_payment_method=name):
        with world.changing(subscription, "customer.subscription.updated"):
            subscription["default_payment_method"] = None
    return method


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one payment method."""
    params.finish()
    return find(world, name)


def update(world: World, params: Params, name: str) -> Resource:
    """Change a payment method's metadata."""
    method = world.get("payment_method", name)
    metadata = params.metadata(method["metadata"])
    params.ignore("billing_details", "card", "allow_redisplay")
    params.finish()
    method["metadata"] = metadata
    world.emit("payment_method.updated", method)
    return method


def list_methods(world: World, params: Params) -> Resource:
    """Return the payment methods of a customer, newest first."""
    customer = params.text("customer")
    chosen = matching(world.all("payment_method"), customer=customer, type=params.text("type"))
    result = page(params, "/v1/payment_methods", chosen if customer else [])
    params.finish()
    return result


def list_of_customer(world: World, params: Params, customer: str) -> Resource:
    """Return the payment methods of the customer in the path, newest first."""
    world.get("customer", customer)
    chosen = matching(world.all("payment_method"), customer=customer, type=params.text("type"))
    result = page(params, f"/v1/customers/{customer}/payment_methods", chosen)
    params.finish()
    return result


def require_owner(world: World, name: str, customer: str) -> Resource:
    """Return the customer's payment method, or refuse one that is somebody else's."""
    method = world.get("payment_method", name, "default_payment_method")
    if method["customer"] != customer:
        raise invalid(
            f"The customer does not have a payment method with the ID {name}. The payment method must be "
            "attached to the customer.",
            "default_payment_method",
            "resource_missing",
        )
    return method


def _card(params: Params) -> Card:
    group = params.group("card")
    if group is None:
        raise invalid("Missing required param: card.", "card", "parameter_missing")
    token, number = group.text("token"), group.text("number")
    group.ignore("exp_month", "exp_year", "cvc")
    card = cards.by_token("pm_card_" + token.removeprefix("tok_")) if token else None
    card = card or (cards.by_number(number) if number else None)
    if card is None:
        raise card_error("incorrect_number", "Your card number is incorrect.", param="number")
    return card


def _printed(card: Card) -> Resource:
    return {
        "brand": card.brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": "US",
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": hashlib.sha256(card.number.encode()).hexdigest()[:16],
        "funding": "credit",
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/payment_methods", create),
    ("GET", "/v1/payment_methods", list_methods),
    ("GET", "/v1/payment_methods/{name}", retrieve),
    ("POST", "/v1/payment_methods/{name}", update),
    ("POST", "/v1/payment_methods/{name}/attach", attach),
    ("POST", "/v1/payment_methods/{name}/detach", detach),
    ("GET", "/v1/customers/{customer}/payment_methods", list_of_customer),
)
