"""Comparison with Stripe: what cures lost webhooks, changes by hand, and mistakes of our own.

Every ten minutes the events that Stripe has and the inbox lacks go into the inbox. Every night all
subscriptions are compared, and the differences are counted and written down; what applies them is the same
projection, in the same line, as for an event.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from api_factory.billing.events import HANDLED
from api_factory.billing.inbox import Inbox
from api_factory.billing.model import (
    Comparison,
    Difference,
    FetchedSubscription,
    ReceivedEvent,
    Standing,
)
from api_factory.billing.projection import Local, Offer, Projection, standing_of
from api_factory.billing.service import Billing
from api_factory.billing.store import inbox as inbox_store
from api_factory.billing.store import reconcile as store
from api_factory.billing.store import subscriptions as subscription_store
from api_factory.db import Database
from api_factory.errors import ApiFactoryError

LOGGER = logging.getLogger("api_factory.billing")

EVENTS_EVERY: Final = timedelta(minutes=10)
SUBSCRIPTIONS_EVERY: Final = timedelta(days=1)
OVERLAP: Final = timedelta(minutes=10)
"""Events of one second come in any order, and what was made at the watermark may show up after it."""
STRIPE_KEEPS: Final = timedelta(days=30)
_BATCH: Final = 100
_KINDS: Final[Mapping[str, str]] = {
    "price_id": "price",
    "current_period_start": "period",
    "current_period_end": "period",
    "ends_at": "cancellation",
}
_COMPARED: Final = (
    "status",
    "plan",
    "price_id",
    "quantity",
    "current_period_start",
    "current_period_end",
    "ends_at",
)


class Reconciliation:
    """Compares this server with Stripe."""

    def __init__(self, db: Database, billing: Billing, inbox: Inbox) -> None:
        self._db = db
        self._billing = billing
        self._inbox = inbox
        self._stripe = inbox.stripe

    async def events_when_due(self) -> None:
        """Take in what is missing, at most every ten minutes however many workers ask."""
        if self._stripe.is_configured:
            await self._events(apply=True, at_most_every=EVENTS_EVERY)

    async def subscriptions_when_due(self) -> None:
        """Compare all subscriptions, at most once a day; it changes nothing."""
        if self._stripe.is_configured:
            await self._subscriptions(apply=False, at_most_every=SUBSCRIPTIONS_EVERY)

    async def run(self, *, apply: bool) -> Comparison:
        """Compare everything now. With `apply` what differs is put into the inbox.

        Raises `StripeUnavailable`, `StripeMisconfigured`, `Unavailable`.
        """
        missing = await self._events(apply=apply, at_most_every=None)
        checked, differences = await self._subscriptions(apply=apply, at_most_every=None)
        return Comparison(missing_events=missing, checked=checked, differences=differences)

    async def last_found(self) -> int | None:
        """Return how many differences the last comparison of subscriptions found, or None."""
        return await store.last_found(self._db)

    async def _events(self, *, apply: bool, at_most_every: timedelta | None) -> tuple[str, ...]:
        run = await self._begin("events", apply, at_most_every)
        if run is None:
            return ()
        now = await self._billing.now()
        watermark = await store.watermark(self._db)
        since = max(now - STRIPE_KEEPS, watermark - OVERLAP) if watermark else now - STRIPE_KEEPS
        checked, missing, batch = 0, list[str](), list[ReceivedEvent]()
        newest = watermark
        try:
            async for event in self._stripe.events(since, HANDLED):
                checked += 1
                newest = event.created_at if newest is None else max(newest, event.created_at)
                batch.append(event)
                if len(batch) == _BATCH:
                    missing += await self._take_in(batch, apply=apply)
                    batch = []
            missing += await self._take_in(batch, apply=apply)
        except ApiFactoryError as error:
            await store.end(
                self._db, run, checked=checked, found=len(missing), watermark=None, error=error.message
            )
            raise
        # Only a whole list moves the watermark, and only one that was taken in.
        moved = newest if apply else None
        await store.end(self._db, run, checked=checked, found=len(missing), watermark=moved, error=None)
        return tuple(missing)

    async def _take_in(self, batch: list[ReceivedEvent], *, apply: bool) -> list[str]:
        ids = await inbox_store.missing(self._db, [event.id for event in batch])
        lacking = [event for event in batch if event.id in ids]
        if apply:
            for event in reversed(lacking):
                await self._inbox.add(event, "reconcile")
        return [event.id for event in lacking]

    async def _subscriptions(
        self, *, apply: bool, at_most_every: timedelta | None
    ) -> tuple[int, tuple[Difference, ...]]:
        run = await self._begin("subscriptions", apply, at_most_every)
        if run is None:
            return 0, ()
        found: list[Difference] = []
        seen: set[str] = set()
        try:
            offer = await self._billing.offer()
            async for fetched in self._stripe.subscriptions():
                seen.add(fetched.id)
                found += await self._compared(fetched, offer)
            found += await self._gone(seen)
            found += await self._accesses()
        except ApiFactoryError as error:
            await store.end(
                self._db, run, checked=len(seen), found=len(found), watermark=None, error=error.message
            )
            raise
        await self._write(run, found, len(seen))
        if apply:
            for customer_id in dict.fromkeys(each.customer_id for each in found):
                if customer_id is not None:
                    await self._inbox.refresh(customer_id)
        return len(seen), tuple(found)

    async def _begin(self, kind: str, apply: bool, at_most_every: timedelta | None) -> UUID | None:
        async with self._db.transaction():
            return await store.begin(self._db, kind, is_applied=apply, at_most_every=at_most_every)

    async def _write(self, run: UUID, found: list[Difference], checked: int) -> None:
        async with self._db.transaction():
            for difference in found:
                await store.insert_difference(self._db, run, difference)
            await store.end(self._db, run, checked=checked, found=len(found), watermark=None, error=None)
        if found:
            LOGGER.warning("Stripe and this server differ in %d places; see billing reconcile", len(found))

    async def _compared(self, fetched: FetchedSubscription, offer: Offer) -> list[Difference]:
        here = await subscription_store.by_id(self._db, fetched.id)
        if here is None:
            return await self._unknown(fetched, offer)
        return list(_differences(here, standing_of(fetched, here.account_id, here, offer)))

    async def _unknown(self, fetched: FetchedSubscription, offer: Offer) -> list[Difference]:
        """Tell of a subscription that is not here: one that ended is none, one of another product neither."""
        is_ours = any(offer.granted_by(item) is not None for item in fetched.items)
        if fetched.status in ("canceled", "incomplete_expired") or not is_ours:
            return []
        owner = await self._billing.owner_of(fetched)
        return [
            Difference(
                kind="paid_without_account" if owner is None else "missing_here",
                subscription_id=fetched.id,
                customer_id=fetched.customer_id,
                account_id=owner,
                there={"status": fetched.status, "created_at": fetched.created_at},
            )
        ]

    async def _gone(self, seen: set[str]) -> list[Difference]:
        """Tell of subscriptions that are live here and that Stripe does not have."""
        return [
            Difference(
                kind="missing_there",
                subscription_id=here.id,
                customer_id=here.customer_id,
                account_id=here.account_id,
                here={"status": here.status},
            )
            for here in await subscription_store.live(self._db)
            if here.id not in seen
        ]

    async def _accesses(self) -> list[Difference]:
        """Tell of accounts that have not what their subscription gives."""
        found: list[Difference] = []
        for account_id in await store.accounts_with_current(self._db):
            local, due = await self._billing.due_to(account_id)
            found += _access(local, due)
        return found


def _differences(here: Standing, there: Standing) -> Iterator[Difference]:
    """Yield one difference a fact; of two that have ended nothing matters any more."""
    if not (here.state.is_live or there.state.is_live):
        return
    for name in _COMPARED:
        if getattr(here, name) != getattr(there, name):
            yield Difference(
                kind=_KINDS.get(name, name),
                subscription_id=here.id,
                customer_id=here.customer_id,
                account_id=here.account_id,
                here={name: getattr(here, name)},
                there={name: getattr(there, name)},
            )


def _access(local: Local, due: Projection) -> Iterator[Difference]:
    """Yield what an account has beside what it is due, and what a person has to decide."""
    current = next((each for each in due.standings if each.is_current), None)
    has = {name: getattr(local.account, name) for name in ("plan_slug", "granted_units", "billing_hold")}
    given = due.entitlement
    if given is not None and current is not None:
        wants = {
            "plan_slug": given.plan_slug,
            "granted_units": given.granted_units,
            "billing_hold": given.hold,
        }
        if wants != has:
            yield _of(current, "access", here=has, there=wants)
    for standing in due.standings:
        if standing.attention is not None and standing.state.is_live:
            yield _of(standing, standing.attention, here={"status": standing.status}, there=None)


def _of(standing: Standing, kind: str, *, here: object, there: object) -> Difference:
    return Difference(
        kind=kind,
        subscription_id=standing.id,
        customer_id=standing.customer_id,
        account_id=standing.account_id,
        here=here,
        there=there,
    )
