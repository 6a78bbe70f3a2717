"""Invoices (https://docs.stripe.com/api/invoices)."""

from __future__ import annotations

from fake_stripe import charging, invoicing, lifecycle
from fake_stripe.errors import invalid
from fake_stripe.listing import is_within, matching, page
from fake_stripe.params import Params
from fake_stripe.resources import payment_methods
from fake_stripe.router import Route
from fake_stripe.world import Resource, World

STATUSES = ("draft", "open", "paid", "uncollectible", "void")


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one invoice."""
    params.finish()
    return world.get("invoice", name)


def list_invoices(world: World, params: Params) -> Resource:
    """Return invoices, newest first."""
    chosen = matching(
        world.all("invoice"),
        customer=params.text("customer"),
        status=params.choice("status", *STATUSES),
        collection_method=params.text("collection_method"),
        _subscription=params.text("subscription"),
    )
    was_created = is_within(params, "created")
    result = page(params, "/v1/invoices", [one for one in chosen if was_created(one["created"])])
    params.finish()
    return result


def update(world: World, params: Params, name: str) -> Resource:
    """Change an invoice's metadata, description, or whether it advances by itself."""
    invoice = world.get("invoice", name)
    with world.changing(invoice, "invoice.updated"):
        invoice["metadata"] = params.metadata(invoice["metadata"])
        _set_advance(world, invoice, params.boolean("auto_advance"))
        if params.has("description"):
            invoice["description"] = params.text("description")
        params.finish()
    return invoice


def finalize(world: World, params: Params, name: str) -> Resource:
    """Finalize a draft; it is charged an hour later, or by `pay`."""
    invoice = world.get("invoice", name)
    params.boolean("auto_advance")
    params.finish()
    if invoice["status"] != "draft":
        raise invalid("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    lifecycle.finalize_and_charge(world, invoice, charges=False)
    return invoice


def pay(world: World, params: Params, name: str) -> Resource:
    """Charge an open invoice now; a refused card is Stripe's 402 and the invoice stays open."""
    invoice = world.get("invoice", name)
    token, is_elsewhere = params.text("payment_method"), params.boolean("paid_out_of_band")
    params.ignore("off_session", "forgive", "mandate", "source")
    params.finish()
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] == "void":
        raise invalid("Invoices with status void can't be paid.", code="invoice_not_open")
    method = payment_methods.find(world, token, "payment_method") if token else None
    if method is not None:
        world.add(method)
    if invoice["status"] == "draft":
        invoicing.finalize(world, invoice)
    if is_elsewhere or invoice["amount_due"] == 0:
        charging.settle_without_charge(world, invoice)
        return invoice
    refused = charging.attempt(world, invoice, method=method)
    if refused is not None:
        raise refused
    return invoice


def void(world: World, params: Params, name: str) -> Resource:
    """Void an open invoice."""
    params.finish()
    invoice = _open(world, name)
    invoicing.void(world, invoice)
    return invoice


def mark_uncollectible(world: World, params: Params, name: str) -> Resource:
    """Write an open invoice off."""
    params.finish()
    invoice = _open(world, name)
    invoicing.mark_uncollectible(world, invoice, "user_forgiven")
    return invoice


def delete(world: World, params: Params, name: str) -> Resource:
    """Delete a draft that no subscription made: there is none here, so it always refuses."""
    params.finish()
    world.get("invoice", name)
    raise invalid("You can't delete invoices created by subscriptions.")


def list_lines(world: World, params: Params, name: str) -> Resource:
    """Return the lines of an invoice."""
    lines = world.get("invoice", name)["lines"]["data"]
    result = page(params, f"/v1/invoices/{name}/lines", list(reversed(lines)))
    params.finish()
    return result


def list_payments(world: World, params: Params) -> Resource:
    """Return the payments of invoices."""
    invoice, status = params.text("invoice"), params.choice("status", "canceled", "open", "paid")
    params.ignore("payment")
    chosen = matching(world.all("invoice_payment"), invoice=invoice, status=status)
    result = page(params, "/v1/invoice_payments", chosen)
    params.finish()
    return result


def _set_advance(world: World, invoice: Resource, advances: bool | None) -> None:
    if advances is None:
        return
    invoice["auto_advance"] = advances
    if advances and invoice["status"] == "draft" and invoice["automatically_finalizes_at"] is None:
        invoice["automatically_finalizes_at"] = world.now() + world.policy.finalize_after_seconds


def _open(world: World, name: str) -> Resource:
    invoice = world.get("invoice", name)
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(
            f"You can only do this to an open invoice; this one is {invoice['status']}.",
            code="invoice_not_open",
        )
    return invoice


ROUTES: tuple[Route, ...] = (
    ("GET", "/v1/invoices", list_invoices),
    ("GET", "/v1/invoices/{name}", retrieve),
    ("POST", "/v1/invoices/{name}", update),
    ("DELETE", "/v1/invoices/{name}", delete),
    ("GET", "/v1/invoices/{name}/lines", list_lines),
    ("POST", "/v1/invoices/{name}/finalize", finalize),
    ("POST", "/v1/invoices/{name}/pay", pay),
    ("POST", "/v1/invoices/{name}/void", void),
    ("POST", "/v1/invoices/{name}/mark_uncollectible", mark_uncollectible),
    ("GET", "/v1/invoice_payments", list_payments),
)
