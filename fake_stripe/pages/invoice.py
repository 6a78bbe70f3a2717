"""The page of an invoice: what it bills, and the card that pays it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from fake_stripe import charging
from fake_stripe.cards import AUTHENTICATION, by_token
from fake_stripe.errors import StripeError
from fake_stripe.pages.render import gone, page, seen
from fake_stripe.resources import payment_methods
from fake_stripe.world import Resource, World


async def show(world: World, request: Request) -> Response:
    """Show an invoice that has been finalized."""
    invoice = world.find("invoice", request.path_params["name"])
    if invoice is None or invoice["hosted_invoice_url"] is None:
        return gone("This invoice does not exist.")
    return _show(invoice)


async def document(world: World, request: Request) -> Response:
    """Answer for the PDF, which is plain text here."""
    invoice = world.find("invoice", request.path_params["name"])
    if invoice is None:
        return gone("This invoice does not exist.")
    return PlainTextResponse(f"Invoice {invoice['number']}: {invoice['total']} {invoice['currency']}\n")


async def pay(world: World, request: Request) -> Response:
    """Pay an open invoice with a card; who pays here also answers the bank's question."""
    invoice = world.find("invoice", request.path_params["name"])
    if invoice is None or invoice["status"] != "open":
        return gone("This invoice is not open.")
    form = await request.form()
    card = by_token(str(form.get("card")))
    if card is None:
        return _show(invoice, error="Choose a card.", status=400)
    method = payment_methods.fresh(world, card)
    if card.behaviour == AUTHENTICATION:
        method["_behaviour"] = "succeeds"
    try:
        payment_methods.attach_to(world, method, world.get("customer", invoice["customer"]))
        refused: StripeError | None = charging.attempt(world, invoice, method=method)
    except StripeError as error:
        refused = error
    if refused is not None:
        return _show(invoice, error=str(refused), status=402)
    return seen(f"/i/{invoice['id']}")


def _show(invoice: Resource, error: str | None = None, status: int = 200) -> Response:
    return page("invoice.html", status, invoice=invoice, lines=invoice["lines"]["data"], error=error)
