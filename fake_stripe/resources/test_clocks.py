"""Test clocks (https://docs.stripe.com/api/test_clocks): here they are the one clock of the account.

At Stripe each clock carries customers of its own; here all customers go with it, and it is ready at once.
The account is never put back: a clock made at a past time shows the account's.
"""

from __future__ import annotations

from fake_stripe import agenda
from fake_stripe.listing import page
from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.standing import TERMINAL, cancel
from fake_stripe.world import DAY_SECONDS, Resource, World

_KEPT_SECONDS = 30 * DAY_SECONDS


def create(world: World, params: Params) -> Resource:
    """Make a clock at a time; the account goes there unless it is past."""
    moment, name = params.required_integer("frozen_time"), params.text("name")
    params.finish()
    moment = max(moment, world.now())
    agenda.advance(world, moment - world.now())
    clock: Resource = {
        "id": world.new_id("clock"),
        "object": "test_helpers.test_clock",
        "created": world.now(),
        "deletes_after": moment + _KEPT_SECONDS,
        "frozen_time": moment,
        "livemode": False,
        "name": name,
        "status": "ready",
        "status_details": {},
    }
    return world.add(clock)


def advance(world: World, params: Params, name: str) -> Resource:
    """Move the clock on; what falls due has happened when this answers."""
    clock = world.get("test_helpers.test_clock", name)
    moment = params.required_integer("frozen_time")
    params.finish()
    agenda.advance(world, moment - world.now())
    clock["frozen_time"] = moment
    return clock


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one clock."""
    params.finish()
    return world.get("test_helpers.test_clock", name)


def list_clocks(world: World, params: Params) -> Resource:
    """Return the clocks, newest first."""
    result = page(params, "/v1/test_helpers/test_clocks", world.all("test_helpers.test_clock"))
    params.finish()
    return result


def delete(world: World, params: Params, name: str) -> Resource:
    """Delete a clock, and cancel the subscriptions of the customers that were made with it."""
    params.finish()
    clock = world.get("test_helpers.test_clock", name)
    customers = {one["id"] for one in world.all("customer") if one["test_clock"] == name}
    for subscription in world.all("subscription"):
        if subscription["customer"] in customers and subscription["status"] not in TERMINAL:
            cancel(world, subscription)
    return world.remove(clock)


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/test_helpers/test_clocks", create),
    ("GET", "/v1/test_helpers/test_clocks", list_clocks),
    ("GET", "/v1/test_helpers/test_clocks/{name}", retrieve),
    ("DELETE", "/v1/test_helpers/test_clocks/{name}", delete),
    ("POST", "/v1/test_helpers/test_clocks/{name}/advance", advance),
)
