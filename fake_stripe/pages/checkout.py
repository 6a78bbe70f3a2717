"""The Checkout page: pay with a test card, be refused by its bank, or go back."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from fake_stripe.cards import AUTHENTICATION, by_token
from fake_stripe.errors import StripeError
from fake_stripe.pages.render import gone, page, seen
from fake_stripe.resources import checkout_sessions
from fake_stripe.world import Resource, World


async def show(world: World, request: Request) -> Response:
    """Show what is bought and the cards to try."""
    session = world.find("checkout.session", request.path_params["name"])
    if session is None or session["status"] != "open":
        return gone("This Checkout session does not exist, is paid, or has expired.")
    return _show(world, session)


async def pay(world: World, request: Request) -> Response:
    """Take the buyer's card; on success send the browser to the success address."""
    session = world.find("checkout.session", request.path_params["name"])
    if session is None or session["status"] != "open":
        return gone("This Checkout session does not exist, is paid, or has expired.")
    form = await request.form()
    token, email = str(form.get("card", "")), str(form.get("email", "")) or None
    card = by_token(token)
    if card is None:
        return _show(world, session, error="Choose a card.", status=400)
    if card.behaviour == AUTHENTICATION and form.get("answer") is None:
        return page("authenticate.html", session=session, card=card, token=token, email=email or "")
    try:
        checkout_sessions.pay(world, session, card, email=email, authenticates=form.get("answer") == "yes")
    except StripeError as error:
        return _show(world, session, error=str(error), status=402)
    return seen(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]))


def _show(world: World, session: Resource, error: str | None = None, status: int = 200) -> Response:
    customer = world.find("customer", session["customer"])
    return page(
        "checkout.html",
        status,
        session=session,
        lines=checkout_sessions.line_items(world, session)["data"],
        trial_days=session["_trial_days"],
        email=session["customer_email"] or (customer and customer["email"]),
        error=error,
    )
