"""The inbox: each event once, each customer in a line, each effect with the event's end in one commit.

    webhook, reconcile, refresh -> receive (one INSERT) -> claim (a lease) -> fetch what Stripe has now
        -> one transaction: still ours? project, finish

An event is a hint that something changed; what it says is never believed, so that order, age, repetition and
loss do not matter. Whoever loses its lease, because it died or slept, cannot write: the transaction asks for
the lease first. A failing event holds back its own customer and nobody else. One fetch answers every event of
the customer that had come before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4

from api_factory.audit import Actor, Audit
from api_factory.billing.events import (
    HANDLED,
    HINTING,
    INVOICE_CREATED,
    PAYMENT_METHOD_ATTACHED,
    REFRESH,
    is_handled,
)
from api_factory.billing.model import ClaimedEvent, CustomerPicture, EventSource, ReceivedEvent
from api_factory.billing.service import Applied, Billing, Overtaken, OwnerUnknown
from api_factory.billing.store import inbox as store
from api_factory.billing.stripe import Stripe, verified
from api_factory.billing.transitions import Cause
from api_factory.db import Database
from api_factory.errors import (
    ApiFactoryError,
    InvalidState,
    NotFound,
    StripeMisconfigured,
    Unavailable,
    WebhookNotMounted,
    WebhookRefused,
)

LOGGER = logging.getLogger("api_factory.billing")

LEASE_SECONDS: Final = 120.0
WORK_SECONDS: Final = 90.0
"""Well within the lease: whoever is slower gives up before another one begins."""
PAUSES_SECONDS: Final = (5, 30, 120, 600, 3_600, 21_600, 43_200, 43_200, 43_200, 43_200, 43_200)
"""Between attempts, about three days in all, as long as Stripe delivers; after the last one it is dead."""
OWNER_ATTEMPTS: Final = 4
"""After so many it is no race with a checkout any more: a customer pays who has no account."""
CONFIGURATION_PAUSE_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 1.0
KEPT_DAYS: Final = 35
"""Longer than Stripe keeps its events, so that none is taken for new again."""

Observe = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an event that was brought."""

    event_id: str
    is_new: bool


class Inbox:
    """Takes events in and lets them be replayed."""

    def __init__(
        self,
        db: Database,
        audit: Audit,
        stripe: Stripe,
        secrets: tuple[str, ...],
        *,
        observe: Observe = lambda kind, outcome: None,
    ) -> None:
        """Take the endpoint's signing secrets; without one nothing from outside is taken in."""
        self._db = db
        self._audit = audit
        self.stripe = stripe
        self.observe = observe
        self._secrets = secrets
        self.arrived = asyncio.Event()
        """Set when something was taken in, for the workers of this process; others look every second."""

    async def receive(self, body: bytes, signature: str | None) -> Receipt:
        """Take in what came over the webhook; once this returns it is on disk, and never twice.

        Raises:
            WebhookNotMounted: There is no secret to verify with.
            WebhookRefused: It is no event that Stripe signed.
            Unavailable: It could not be stored; Stripe delivers it again, for three days.
        """
        if not self._secrets:
            raise WebhookNotMounted
        try:
            event = verified(body, signature, self._secrets)
        except WebhookRefused as refused:
            self.observe("unverified", refused.reason)
            raise
        return await self.add(event, "webhook")

    async def add(self, event: ReceivedEvent, source: EventSource) -> Receipt:
        """Store an event once; one that nobody works on is stored as skipped. Raises `Unavailable`."""
        state, remark = "pending", None
        if not is_handled(event.type) or event.customer_id is None:
            state, remark = "skipped", "Nothing here depends on it."
        elif self.stripe.is_configured and event.livemode != self.stripe.livemode:
            state, remark = "skipped", "It is of the other mode, live or test, than STRIPE_API_KEY."
        seq = await store.insert_once(self._db, event, source, state, remark)
        if seq is None:
            await store.count_delivery(self._db, event.id)
            self.observe(_label(event.type), "duplicate")
        else:
            self.observe(_label(event.type), "received" if state == "pending" else state)
            self.arrived.set()
        return Receipt(event.id, seq is not None)

    async def refresh(self, customer_id: str) -> Receipt:
        """Have a customer fetched anew, in his line, without an event of Stripe."""
        now = await store.now(self._db)
        return await self.add(
            ReceivedEvent(
                id=f"refresh_{uuid4().hex}",
                type=REFRESH,
                livemode=self.stripe.livemode,
                api_version=None,
                created_at=now,
                customer_id=customer_id,
                subscription_id=None,
                object_id=None,
                body=b"{}",
            ),
            "refresh",
        )

    async def replay(self, event_id: str, *, by: Actor) -> str:
        """Work on an event again; one that is not here is fetched from Stripe. Returns the state it was in.

        Raises `NotFound` when neither has it, `InvalidState` while it is being worked on.
        """
        async with self._db.transaction():
            found = await store.reopen(self._db, event_id)
            if found is not None and found[1] == "processing":
                raise InvalidState("replay", "being worked on", (), subject="an event")
            if found is not None:
                await self._audit.record(
                    by, "replayed", "stripe_event", event_id, before={"state": found[1]}, after=None
                )
        if found is not None:
            self.arrived.set()
            return found[1]
        event = await self.stripe.event(event_id) if self.stripe.is_configured else None
        if event is None:
            raise NotFound("There is no such event here or at Stripe, which keeps them for 30 days.")
        await self.add(event, "reconcile")
        return "missing"

    async def state(self, event_id: str) -> str:
        """Return the state of an event. Raises `NotFound`."""
        found = await store.state(self._db, event_id)
        if found is None:
            raise NotFound("There is no such event in the inbox; copy its id, `evt_…`, from Stripe.")
        return found

    async def prune(self) -> None:
        """Forget what was finished long ago."""
        await store.delete_finished(self._db, KEPT_DAYS)


class InboxWorker:
    """Works off the inbox; any number of them, in any number of processes."""

    def __init__(
        self,
        db: Database,
        billing: Billing,
        inbox: Inbox,
        *,
        on_invoice_created: Callable[[UUID], Awaitable[object]] | None = None,
        lease_seconds: float = LEASE_SECONDS,
        lanes: int = 4,
    ) -> None:
        """Take so many events at once; `on_invoice_created` is told of an account after the commit."""
        self._db = db
        self._billing = billing
        self._inbox = inbox
        self._stripe = inbox.stripe
        self._observe = inbox.observe
        self._on_invoice_created = on_invoice_created
        self._lease_seconds = lease_seconds
        self._lanes = lanes
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin on the running loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._lane(), name=f"inbox {number}") for number in range(self._lanes)
        ]

    async def stop(self) -> None:
        """End; what is under way goes back to the inbox when its lease has run out, or at once if it can."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def drain(self) -> int:
        """Work off what is due now, one after the other; return how many events that were."""
        worked = 0
        while await self.step():
            worked += 1
        return worked

    async def step(self) -> bool:
        """Claim one event and work on it; say whether there was one. Raises `Unavailable`."""
        event = await store.claim(self._db, uuid4(), self._lease_seconds)
        if event is None:
            return False
        await self._work(event)
        return True

    async def _lane(self) -> None:
        while True:
            self._inbox.arrived.clear()
            try:
                worked = await self.step()
            except StripeMisconfigured as error:
                LOGGER.error("events of Stripe wait: %s", error.message)
                await asyncio.sleep(CONFIGURATION_PAUSE_SECONDS)
                continue
            except ApiFactoryError as error:
                LOGGER.warning("the inbox cannot be worked on: %s", error.message)
                worked = False
            except Exception:
                LOGGER.exception("an event was left to its lease")
                worked = False
            if not worked:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._inbox.arrived.wait(), _jittered(IDLE_SECONDS))

    async def _work(self, event: ClaimedEvent) -> None:
        try:
            async with asyncio.timeout(min(WORK_SECONDS, self._lease_seconds * 0.75)):
                outcome = await self._project(event)
        except asyncio.CancelledError:
            with contextlib.suppress(ApiFactoryError):
                await store.give_back(
                    self._db, event.seq, event.lease, 0, "The worker was stopped.", counts=False
                )
            raise
        except StripeMisconfigured as error:
            await store.give_back(
                self._db, event.seq, event.lease, CONFIGURATION_PAUSE_SECONDS, error.message, counts=False
            )
            raise
        except Overtaken:
            await store.give_back(self._db, event.seq, event.lease, 0, "Overtaken.", counts=False)
            outcome = "overtaken"
        except Exception as error:
            outcome = await self._failed(event, error)
        self._observe(_label(event.type), outcome)

    async def _project(self, event: ClaimedEvent) -> str:
        """Fetch, then write everything in one short transaction; return the state that the event ended in."""
        fetched_at = await self._billing.now()
        picture = await self._fetch(event)
        cause = Cause(id=event.event_id, kind=event.type, object_id=event.object_id)
        async with self._db.transaction():
            if not await store.lock_claimed(self._db, event.seq, event.lease):
                return "fenced"
            if picture is None:
                await store.finish(self._db, event.seq, "needs_attention", "Stripe knows no such customer.")
                return "needs_attention"
            applied = await self._billing.apply(picture, fetched_at, cause)
            state, remark = _end_of(applied)
            await store.finish(self._db, event.seq, state, remark)
            answered = await store.finish_followers(self._db, event, fetched_at, HINTING)
        for kind in answered:
            self._observe(_label(kind), "done")
        if event.type == INVOICE_CREATED and applied.account_id is not None:
            await self._tell_of_invoice(applied.account_id)
        return state

    async def _tell_of_invoice(self, account_id: UUID) -> None:
        """Pass on that a period ends; the event is done, and whoever listens looks by himself as well."""
        try:
            if self._on_invoice_created is not None:
                await self._on_invoice_created(account_id)
        except ApiFactoryError as error:
            LOGGER.warning("a new invoice could not be passed on: %s", error.message)

    async def _fetch(self, event: ClaimedEvent) -> CustomerPicture | None:
        picture = await self._stripe.picture(event.customer_id or "")
        if picture is None or event.type != PAYMENT_METHOD_ATTACHED:
            return picture
        return replace(picture, offered_payment_method_id=event.object_id, offered_at=event.created_at)

    async def _failed(self, event: ClaimedEvent, error: Exception) -> str:
        """Leave an event for later, where it holds back its customer, or to a person, where it does not."""
        is_ours = isinstance(error, ApiFactoryError | TimeoutError)
        remark = error.message if isinstance(error, ApiFactoryError) else f"{type(error).__name__}: {error}"
        if not is_ours:
            LOGGER.error("event %s failed", event.event_id, exc_info=error)
        if isinstance(error, OwnerUnknown) and event.attempts >= OWNER_ATTEMPTS:
            return await self._end(event, "needs_attention", remark)
        if event.attempts > len(PAUSES_SECONDS):
            return await self._end(event, "dead", remark)
        pause = _jittered(PAUSES_SECONDS[event.attempts - 1])
        await store.give_back(self._db, event.seq, event.lease, pause, remark, counts=True)
        return "retry" if isinstance(error, Unavailable | OwnerUnknown) else "error"

    async def _end(self, event: ClaimedEvent, state: str, remark: str) -> str:
        async with self._db.transaction():
            if not await store.lock_claimed(self._db, event.seq, event.lease):
                return "fenced"
            await store.finish(self._db, event.seq, state, remark)
        return state


def _end_of(applied: Applied) -> tuple[str, str | None]:
    if applied.account_id is None:
        return "skipped", "The customer has no account here and no subscription."
    return ("done", None) if applied.attention is None else ("needs_attention", applied.attention)


def _jittered(seconds: float) -> float:
    """Return a part of the time, so that those who failed together do not come back together."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret depends on it


def _label(kind: str) -> str:
    """Return the label of an event's type; what is not worked on is counted as one."""
    return kind if kind in HANDLED or kind == REFRESH else "other"
