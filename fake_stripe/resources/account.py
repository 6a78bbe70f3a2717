"""The account itself (https://docs.stripe.com/api/account), for clients that ask who they are."""

from __future__ import annotations

from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.world import Resource, World


def retrieve(world: World, params: Params) -> Resource:
    """Return the one account."""
    params.finish()
    return {
        "id": "acct_fake",
        "object": "account",
        "business_profile": {"name": "Fake Stripe"},
        "charges_enabled": True,
        "country": "US",
        "created": 0,
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "payouts_enabled": False,
        "type": "standard",
    }


ROUTES: tuple[Route, ...] = (("GET", "/v1/account", retrieve),)
