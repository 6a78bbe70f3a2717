"""Stories of buyers, recorded over HTTP at the fake Stripe, and told again for many customers at once.

What is recorded is what the official package fetched: the events of each step, and the customer's objects
after it. A Stripe that tells a story again answers from memory: hundreds of customers fit into a minute.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from api_factory.billing.model import CustomerPicture, FetchedSubscription, ReceivedEvent
from api_factory.billing.stripe import Stripe, event_of
from api_factory.errors import StripeUnavailable
from tests.fake_stripe.process import KEY, FakeStripe
from tests.fake_stripe.shop import Shop, item

_OURS = ("cus_", "sub_", "in_", "si_", "pm_", "evt_")
Act = Callable[[Shop, dict[str, Any]], object]


def _first(story: dict[str, Any]) -> Any:
    return story["subscriptions"][0]


def _subscribe(price: str, **params: Any) -> Act:
    def act(shop: Shop, story: dict[str, Any]) -> None:
        chosen = getattr(shop, price)
        story["subscriptions"].append(shop.subscribe(chosen, customer=story["customer"], **params))

    return act


def _move_to(price: str) -> Act:
    def act(shop: Shop, story: dict[str, Any]) -> None:
        which = item(shop.now(_first(story))).id
        shop.v1.subscriptions.update(
            _first(story).id, {"items": [{"id": which, "price": getattr(shop, price)}]}
        )

    return act


def _update(**params: Any) -> Act:
    return lambda shop, story: shop.v1.subscriptions.update(_first(story).id, params)


def _card(behaviour: str) -> Act:
    return lambda shop, story: shop.card(_first(story), behaviour)


def _pay(shop: Shop, story: dict[str, Any]) -> None:
    shop.card(_first(story), "succeeds")
    shop.v1.invoices.pay(shop.now(_first(story)).latest_invoice)


def _cancel(which: int = 0) -> Act:
    return lambda shop, story: shop.v1.subscriptions.cancel(story["subscriptions"][which].id)


def _wait(shop: Shop, story: dict[str, Any]) -> None:
    return None


STORIES: dict[str, list[tuple[int, Act]]] = {
    "upgrade, cancel at the end, come back": [
        (0, _subscribe("pro")),
        (3, _move_to("scale")),
        (5, _update(cancel_at_period_end=True)),
        (33, _wait),
        (40, _subscribe("pro")),
    ],
    "fail, be suspended, recover": [
        (0, _subscribe("pro")),
        (3, _card("insufficient_funds")),
        (33, _wait),
        (41, _wait),
        (42, _pay),
    ],
    "fail, recover in time, downgrade": [
        (0, _subscribe("scale")),
        (3, _card("insufficient_funds")),
        (33, _wait),
        (34, _pay),
        (40, _move_to("pro")),
    ],
    "fail and stay suspended": [(0, _subscribe("pro")), (3, _card("lost_card")), (33, _wait), (41, _wait)],
    "fail and be given up": [
        (0, _subscribe("pro")),
        (3, _card("insufficient_funds")),
        (33, _wait),
        (60, _wait),
    ],
    "try, pay, cancel": [
        (0, _subscribe("pro", trial_period_days=14)),
        (16, _wait),
        (33, _cancel()),
    ],
    "subscribe twice, end the first": [(0, _subscribe("pro")), (3, _subscribe("scale")), (5, _cancel(0))],
    "cancel at once and come back with another plan": [
        (0, _subscribe("pro")),
        (3, _cancel()),
        (5, _subscribe("scale")),
    ],
}


@dataclass(frozen=True, slots=True)
class Step:
    """What Stripe has after a step, and the events that told of it."""

    day: int
    picture: CustomerPicture
    events: tuple[ReceivedEvent, ...]


async def record(fake: FakeStripe, acts: Sequence[tuple[int, Act]]) -> tuple[Step, ...]:
    """Let a buyer live through a story; return what was seen of it."""
    fake.control("reset", seed="chaos")
    shop = Shop.open(fake)
    story = {"customer": shop.customer(), "subscriptions": []}
    stripe = Stripe(KEY, base=fake.url)
    seen: set[str] = {event.id for event in fake.v1.events.list({"limit": 100}).auto_paging_iter()}
    steps: list[Step] = []
    today = 0
    for day, act in acts:
        fake.advance(days=day - today)
        today = day
        act(shop, story)
        news = [
            event for event in fake.v1.events.list({"limit": 100}).auto_paging_iter() if event.id not in seen
        ]
        seen |= {event.id for event in news}
        picture = await stripe.picture(story["customer"])
        assert picture is not None
        bodies = [json.dumps(event.to_dict(for_json=True)).encode() for event in reversed(news)]
        steps.append(Step(day, picture, tuple(event_of(body) for body in bodies)))
    await stripe.close()
    return tuple(steps)


def renamed(value: Any, suffix: str) -> Any:
    """Return the same with every id of Stripe made another customer's."""
    if isinstance(value, str):
        return f"{value}_{suffix}" if value.startswith(_OURS) else value
    if isinstance(value, tuple):
        return tuple(renamed(each, suffix) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        facts = {each.name: renamed(getattr(value, each.name), suffix) for each in dataclasses.fields(value)}
        return replace(value, **facts)
    return value


class Killed(BaseException):
    """The process that did this is gone: nothing after it happens."""


@dataclass
class Unrest:
    """How often what goes wrong; all of it drawn from one seed."""

    seed: random.Random
    outage: float = 0.05
    kill: float = 0.06
    stale: float = 0.3
    zombie: float = 0.05
    counts: dict[str, int] = field(default_factory=dict)

    def strikes(self, what: str) -> bool:
        """Draw whether something goes wrong now."""
        hit = self.seed.random() < getattr(self, what)
        self.counts[what] = self.counts.get(what, 0) + hit
        return hit


class RecordedStripe:
    """A Stripe that tells recorded stories: it answers with what it has, late, badly or not at all."""

    is_configured = True
    livemode = False

    def __init__(self, expire: Callable[[str], Any]) -> None:
        """`expire` ends the lease on a customer's line, as if whoever holds it had slept."""
        self.pictures: dict[str, CustomerPicture] = {}
        self.told: list[ReceivedEvent] = []
        self.unrest: Unrest | None = None
        self._expire = expire

    async def picture(self, customer_id: str) -> CustomerPicture | None:
        found, unrest = self.pictures.get(customer_id), self.unrest
        if unrest is None:
            return found
        if unrest.strikes("outage"):
            raise StripeUnavailable
        if unrest.strikes("stale"):
            await asyncio.sleep(unrest.seed.random() * 0.02)
        if unrest.strikes("zombie"):
            await self._expire(customer_id)
            await asyncio.sleep(0.02)
        if unrest.strikes("kill"):
            raise Killed
        return found

    async def events(
        self, since: datetime, types: Sequence[str] | None = None
    ) -> AsyncIterator[ReceivedEvent]:
        for event in reversed(self.told):
            if event.created_at >= since and (types is None or event.type in types):
                yield event

    async def subscriptions(self) -> AsyncIterator[FetchedSubscription]:
        for picture in self.pictures.values():
            for found in picture.subscriptions:
                yield found
