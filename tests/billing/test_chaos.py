"""Deliveries in any order, repeated, late, lost, to workers that die: in the end it is as if all went well.

Each customer is a case of his own: a story, and what becomes of each of its events. TEST_CHAOS_CUSTOMERS
tells how many there are, TEST_CHAOS_SEED what is drawn; a failure names both.
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from api_factory.billing.inbox import Inbox, InboxWorker
from api_factory.billing.model import ReceivedEvent
from api_factory.billing.reconcile import Reconciliation
from api_factory.keys import NewKey
from api_factory.notices import Channels, NewNotice, Notices
from api_factory.usage import Usage
from tests.billing.ground import BY, Ground
from tests.billing.recorded import STORIES, Killed, RecordedStripe, Step, Unrest, record, renamed
from tests.fake_stripe.process import FakeStripe

CUSTOMERS = int(os.environ.get("TEST_CHAOS_CUSTOMERS", "120"))
SEED = os.environ.get("TEST_CHAOS_SEED", "1")
WORKERS = 4


class MortalNotices(Notices):
    """An outbox whose writer may die in the middle of the transaction."""

    unrest: Unrest | None = None

    async def record(self, new: NewNotice) -> bool:
        if self.unrest is not None and self.unrest.strikes("kill"):
            raise Killed
        return await super().record(new)


@dataclass
class Customer:
    """One customer: his story under his own ids, and the events that have not come yet."""

    name: str
    story: str
    steps: tuple[Step, ...]
    account_id: UUID
    key_id: UUID
    loses_events: bool = True
    waiting: list[ReceivedEvent] = field(default_factory=list)


@dataclass
class World:
    """Everything: the services, a Stripe that tells stories, and the customers."""

    ground: Ground
    stripe: RecordedStripe
    notices: MortalNotices
    inbox: Inbox
    reconciliation: Reconciliation
    customers: list[Customer] = field(default_factory=list)
    deaths: int = 0
    is_moving: bool = False

    async def settle(self) -> None:
        """Let several workers work until nothing is due and nothing happens; whoever dies is replaced."""
        await asyncio.gather(*[self._work() for _ in range(WORKERS)])

    async def _work(self) -> None:
        worker = InboxWorker(self.ground.db, self.ground.billing, self.inbox)
        while True:
            try:
                if await worker.step():
                    continue
                if not self.is_moving:
                    return
                await asyncio.sleep(0.005)
            except Killed:
                self.deaths += 1

    async def tick(self) -> None:
        """Let the clocks of two workers strike at once; one may die of it."""
        for outcome in await asyncio.gather(
            self.ground.billing.suspend_due(), self.ground.billing.suspend_due(), return_exceptions=True
        ):
            assert isinstance(outcome, int | Killed), outcome

    async def live(self, seed: random.Random, unrest: Unrest | None) -> None:
        """Go through the days of all stories; with unrest, deliver badly to workers that die."""
        self.stripe.unrest = self.notices.unrest = unrest
        today = 0
        for day in sorted({step.day for customer in self.customers for step in customer.steps}):
            if day > today:
                await self.ground.set_ahead(days=day)
                today = day
            await self.tick()
            if unrest is None:
                await self._move(day, seed, is_rough=False)
                await self.settle()
            else:
                self.is_moving = True
                await asyncio.gather(self._move(day, seed, is_rough=True), self.settle())
        self.stripe.unrest = self.notices.unrest = None

    async def _move(self, day: int, seed: random.Random, *, is_rough: bool) -> None:
        """Let the day's steps happen, a few customers at a time while the workers work, and tell of them."""
        groups = 8 if is_rough else 1
        try:
            for group in range(groups):
                for customer in self.customers[group::groups]:
                    self._happen(customer, day)
                    await asyncio.sleep(0.001 if is_rough else 0)
                await self._deliver(seed, is_rough=is_rough)
        finally:
            self.is_moving = False

    def _happen(self, customer: Customer, day: int) -> None:
        for step in customer.steps:
            if step.day == day:
                self.stripe.pictures[step.picture.customer.id] = step.picture
                self.stripe.told += step.events
                customer.waiting += step.events

    async def _deliver(self, seed: random.Random, *, is_rough: bool) -> None:
        batch: list[ReceivedEvent] = []
        for customer in self.customers:
            arriving, customer.waiting = customer.waiting, []
            for event in arriving:
                fate = seed.random() if is_rough else 1.0
                if fate < 0.2 and customer.loses_events:
                    continue
                if fate < 0.5:
                    customer.waiting.append(event)
                else:
                    batch += [event] * (2 if fate < 0.65 else 1)
        if is_rough:
            seed.shuffle(batch)
        for event in batch:
            await self.inbox.add(event, "webhook")

    async def calm_down(self) -> None:
        """Deliver what is late, and let what waits for a pause or a lease have its turn."""
        await self._deliver(random.Random(0), is_rough=False)
        await self.ground.db.execute(
            "UPDATE stripe_event SET next_attempt_at = af_now() WHERE state = 'pending'"
        )
        await self.ground.db.execute(
            "UPDATE stripe_event SET locked_until = af_now() WHERE state = 'processing'"
        )
        await self.settle()
        await self.tick()

    async def mend(self) -> None:
        """Do what ten minutes and one night do: every event that Stripe has, and what still differs."""
        await self.reconciliation.run(apply=True)
        await self.calm_down()

    async def outcome(self, customer: Customer) -> dict[str, Any]:
        """Return all that matters of a customer in the end, under the ids of the story."""
        ground = self.ground
        account = await ground.accounts.get(customer.account_id)
        used = await Usage(ground.db).standing(customer.account_id, livemode=True)
        standings = await ground.billing.subscriptions(customer.account_id)
        episodes = [each for each in await ground.billing.episodes(customer.account_id) if not each.closed_at]
        return {
            "access": (account.plan_slug, account.status, account.billing_hold, account.granted_units),
            "quota": (used.included, used.period_start, used.period_end),
            "key": (await ground.keys.find(customer.key_id)).status,
            "subscriptions": [
                (own(each.id), each.state, each.plan, each.is_current, each.ends_at, each.attention)
                for each in standings
            ],
            "owed": [
                (own(each.invoice_id), each.stage, each.opened_at, each.grace_ends_at) for each in episodes
            ],
        }


def own(name: str) -> str:
    """Return an id of the story without the customer's suffix."""
    return name.rpartition("_")[0]


@pytest.fixture(scope="module")
async def stories(stripe_process: FakeStripe) -> dict[str, tuple[Step, ...]]:
    """Every story as it was seen over HTTP."""
    return {name: await record(stripe_process, acts) for name, acts in STORIES.items()}


@pytest.fixture
async def world(ground: Ground) -> World:
    """Services whose Stripe is in memory."""

    async def expire(customer_id: str) -> None:
        await ground.db.execute(
            "UPDATE stripe_event SET locked_until = af_now() WHERE line = $1 AND state = 'processing'",
            customer_id,
        )

    stripe = RecordedStripe(expire)
    notices = MortalNotices(ground.db, Channels())
    ground.billing._notices = notices
    inbox = Inbox(ground.db, ground.audit, stripe, ())  # type: ignore[arg-type]
    return World(ground, stripe, notices, inbox, Reconciliation(ground.db, ground.billing, inbox))


async def settle_in(world: World, name: str, story: str, steps: tuple[Step, ...]) -> Customer:
    """Make a customer's account and key."""
    account = await world.ground.accounts.create(f"{name}@example.com", by=BY)
    key = await world.ground.keys.create(account.id, NewKey(name="main"), by=BY)
    own_steps = renamed(steps, name)
    await world.ground.accounts.link_customer(account.id, own_steps[0].picture.customer.id, by=BY)
    customer = Customer(name, story, own_steps, account.id, key.key.id)
    world.customers.append(customer)
    return customer


async def test_the_end_is_that_of_the_run_in_order_whatever_happened_on_the_way(
    world: World, stories: dict[str, tuple[Step, ...]]
) -> None:
    for number, (story, steps) in enumerate(stories.items()):
        await settle_in(world, f"order{number}", story, steps)
    await world.live(random.Random(0), None)
    expected = {customer.story: await world.outcome(customer) for customer in world.customers}
    assert [each["access"][0] for each in expected.values()] == [
        "pro", "pro", "pro", "pro", "free", "free", "scale", "scale",
    ]  # fmt: skip
    assert expected["fail and stay suspended"]["access"][1] == "UNPAID"

    world.customers.clear()
    await world.ground.set_ahead(days=0)
    seed = random.Random(SEED)
    for number in range(CUSTOMERS):
        story = list(stories)[number % len(stories)]
        customer = await settle_in(world, f"chaos{number}", story, stories[story])
        customer.loses_events = (number // len(stories)) % 2 == 0
    unrest = Unrest(seed)
    await world.live(seed, unrest)
    await world.calm_down()
    assert min(unrest.counts.values()) > 0, unrest.counts
    assert world.deaths > 0
    for customer in world.customers:
        if not customer.loses_events:
            assert await world.outcome(customer) == expected[customer.story], f"seed {SEED}: {customer.name}"
    await world.mend()
    for customer in world.customers:
        found = await world.outcome(customer)
        assert found == expected[customer.story], f"seed {SEED}: {customer.name}, {customer.story}"
        await assert_each_effect_happened_once(world.ground, customer)
    assert set(await world.ground.states()) <= {"done", "skipped", "needs_attention"}
    left = await world.reconciliation.run(apply=False)
    assert (left.missing_events, left.differences) == ((), ())


async def assert_each_effect_happened_once(ground: Ground, customer: Customer) -> None:
    """Every change of the account begins where the one before it ended, and each was told once."""
    account = await ground.accounts.get(customer.account_id)
    entries = [
        each
        for each in await ground.audit.entries(target_id=account.public_id, limit=500)
        if "entitled" in each.verb
    ]
    stands: dict[str, object] = {}
    for entry in reversed(entries):
        assert entry.before != entry.after
        for name, value in (entry.before or {}).items():
            assert stands.get(name, value) == value, (customer.name, name)
        stands |= entry.after or {}
    rows = await ground.db.fetch(
        "SELECT kind FROM notice WHERE account_id = $1"
        " AND kind IN ('billing.suspended', 'billing.reinstated') ORDER BY created_at, id",
        customer.account_id,
    )
    told = [row["kind"] for row in rows]
    assert all(one != other for one, other in pairwise(told)), (customer.name, told)
    moved = [
        (each.before or {}).get("state", "") == "suspended"
        or (each.after or {}).get("state", "") == "suspended"
        for standing in await ground.billing.subscriptions(customer.account_id)
        for each in await ground.audit.entries(target_id=standing.id, limit=500)
        if "state" in (each.after or {})
    ]
    assert len(told) <= sum(moved)
