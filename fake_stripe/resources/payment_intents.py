"""Payment intents of invoices (https://docs.stripe.com/api/payment_intents)."""

from __future__ import annotations

from fake_stripe.listing import matching, page
from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.world import Resource, World


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one payment intent."""
    params.ignore("client_secret")
    params.finish()
    return world.get("payment_intent", name)


def list_intents(world: World, params: Params) -> Resource:
    """Return payment intents, newest first."""
    chosen = matching(world.all("payment_intent"), customer=params.text("customer"))
    result = page(params, "/v1/payment_intents", chosen)
    params.finish()
    return result


ROUTES: tuple[Route, ...] = (
    ("GET", "/v1/payment_intents", list_intents),
    ("GET", "/v1/payment_intents/{name}", retrieve),
)
