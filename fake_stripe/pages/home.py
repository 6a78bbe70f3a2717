"""The first page: what this server is, what it holds, and the clock to advance."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from fake_stripe import agenda
from fake_stripe.pages.render import page, seen
from fake_stripe.world import DAY_SECONDS, World

_RECENT = 20
_MOST_DAYS = 3_660


async def show(world: World, request: Request) -> Response:
    """Show the account: its time, subscriptions, endpoints, latest events and deliveries."""
    deliveries = world.all("_done_delivery") + world.all("_delivery")
    return page(
        "home.html",
        now=world.now(),
        subscriptions=list(reversed(world.all("subscription")))[:_RECENT],
        endpoints=world.all("webhook_endpoint"),
        events=list(reversed(world.all("event")))[:_RECENT],
        deliveries=list(reversed(deliveries))[:_RECENT],
    )


async def advance(world: World, request: Request) -> Response:
    """Move the clock on by a number of days."""
    text = str((await request.form()).get("days", ""))
    if text.isdecimal() and int(text) <= _MOST_DAYS:
        agenda.advance(world, int(text) * DAY_SECONDS)
    return seen("/")
