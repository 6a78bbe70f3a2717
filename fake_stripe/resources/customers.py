"""Customers (https://docs.stripe.com/api/customers)."""

from __future__ import annotations

import copy

from fake_stripe import standing
from fake_stripe.listing import is_within, matching, page
from fake_stripe.params import Params
from fake_stripe.resources import payment_methods
from fake_stripe.router import Route
from fake_stripe.world import Resource, World

_TEXTS = ("description", "email", "name", "phone")
_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_BLANK: Resource = {
    "object": "customer",
    "address": None,
    "balance": 0,
    "currency": None,
    "default_source": None,
    "delinquent": False,
    "discount": None,
    "invoice_settings": {
        "custom_fields": None,
        "default_payment_method": None,
        "footer": None,
        "rendering_options": None,
    },
    "livemode": False,
    "next_invoice_sequence": 1,
    "preferred_locales": [],
    "shipping": None,
    "tax_exempt": "none",
    "test_clock": None,
}


def create(world: World, params: Params) -> Resource:
    """Make a customer."""
    customer = blank(world)
    clock = params.text("test_clock")
    customer["test_clock"] = clock and world.get("test_helpers.test_clock", clock, "test_clock")["id"]
    method = _fill(world, params, customer)
    params.finish()
    if method is not None:
        payment_methods.attach_to(world, method, customer)
    world.add(customer)
    world.emit("customer.created", customer)
    return customer


def blank(world: World) -> Resource:
    """Return a customer about whom nothing is known; not kept yet."""
    name = world.new_id("cus")
    return copy.deepcopy(_BLANK) | {
        "id": name,
        "created": world.now(),
        "invoice_prefix": name[-8:].upper(),
        "metadata": {},
        **dict.fromkeys(_TEXTS),
    }


def update(world: World, params: Params, name: str) -> Resource:
    """Change a customer; a new default payment method is what the next attempt uses."""
    customer = world.get("customer", name)
    with world.changing(customer, "customer.updated"):
        method = _fill(world, params, customer)
        params.finish()
        if method is not None:
            payment_methods.attach_to(world, method, customer)
    return customer


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one customer; a deleted one says only that."""
    params.finish()
    if name in world.tables.get("_deleted_customer", {}):
        return {"id": name, "object": "customer", "deleted": True}
    return world.get("customer", name)


def list_customers(world: World, params: Params) -> Resource:
    """Return customers, newest first."""
    was_created = is_within(params, "created")
    chosen = matching(world.all("customer"), email=params.text("email"))
    result = page(params, "/v1/customers", [one for one in chosen if was_created(one["created"])])
    params.finish()
    return result


def delete(world: World, params: Params, name: str) -> Resource:
    """Delete a customer and cancel all its subscriptions at once."""
    params.finish()
    customer = world.get("customer", name)
    for subscription in matching(world.all("subscription"), customer=name):
        if subscription["status"] not in standing.TERMINAL:
            standing.cancel(world, subscription)
    world.emit("customer.deleted", customer)
    world.add({"id": name, "object": "_deleted_customer"})
    return world.remove(customer)


def _fill(world: World, params: Params, customer: Resource) -> Resource | None:
    """Write what the request says; return the payment method to attach when nothing was refused."""
    for field in _TEXTS:
        if params.has(field):
            customer[field] = params.text(field)
    address = params.group("address")
    if address is not None:
        customer["address"] = {part: address.text(part) for part in _ADDRESS}
    balance = params.integer("balance")
    customer["balance"] = customer["balance"] if balance is None else balance
    customer["metadata"] = params.metadata(customer["metadata"])
    params.ignore("tax", "tax_exempt", "preferred_locales")
    token, settings = params.text("payment_method"), params.group("invoice_settings")
    if settings is not None and settings.has("default_payment_method"):
        name = settings.text("default_payment_method")
        if name is not None and name != token:
            payment_methods.require_owner(world, name, customer["id"])
        customer["invoice_settings"]["default_payment_method"] = name
    return payment_methods.find(world, token, "payment_method") if token else None


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/customers", create),
    ("GET", "/v1/customers", list_customers),
    ("GET", "/v1/customers/{name}", retrieve),
    ("POST", "/v1/customers/{name}", update),
    ("DELETE", "/v1/customers/{name}", delete),
)
