"""Metered units: closed windows of usage, told to a Stripe meter once each.

What a window holds is decided in SQL (`meter_close`), in one transaction with the counter it is read from.
Sending is at least once, and Stripe refuses an identifier that it has had within 24 hours
(https://docs.stripe.com/api/billing/meter-event/create): a repeated window counts once. After 23 hours
nothing is repeated on trust; Stripe's own sum of that minute decides.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

from api_factory.billing.store import meters as store
from api_factory.billing.store.meters import MeterWindow
from api_factory.billing.stripe import Client, Stripe
from api_factory.db import Database
from api_factory.errors import StripeMisconfigured, StripeRefused, Unavailable
from api_factory.ids import public_id
from api_factory.log import redact

LOGGER = logging.getLogger("api_factory.billing.meters")

METER: Final = "api_factory_units"
"""The meter's event name; the same stands in `meter_close`."""
CUSTOMER_KEY: Final = "stripe_customer_id"
VALUE_KEY: Final = "value"
LEASE_SECONDS: Final = 120.0
AT_ONCE: Final = 8
ACCOUNTS_AT_ONCE: Final = 200
TRUSTED: Final = timedelta(hours=23)
"""For so long an identifier surely keeps a second event out; Stripe promises 24 hours."""
TOO_OLD: Final = timedelta(days=34)
"""Stripe takes no event that is older than 35 days."""
PAUSES_SECONDS: Final = (5, 30, 120, 600, 3_600)
REFUSED_PAUSE_SECONDS: Final = 3_600
_MINUTE: Final = timedelta(minutes=1)
_DUPLICATE: Final = "already exists with identifier"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterDifference:
    """A customer for whom Stripe has counted other units than were sent."""

    account_id: str
    customer_id: str
    sent_units: int
    stripe_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterComparison:
    """What a comparison with Stripe's own sums found: how many customers, and units that are not sent."""

    customers: int
    pending_units: int
    dead_units: int
    differences: tuple[MeterDifference, ...]


class Meters:
    """The way of used units into the invoice."""

    def __init__(
        self, db: Database, stripe: Stripe, *, observe: Callable[[str], None] = lambda outcome: None
    ) -> None:
        """Take the database, Stripe, and who counts each attempt by its outcome."""
        self._db = db
        self._stripe = stripe
        self._observe = observe
        self._meter_id: str | None = None

    async def close_due(self) -> int:
        """Close the windows whose hour or period is over; return how many hold something for Stripe."""
        made = 0
        while accounts := await store.accounts_to_close(self._db, ACCOUNTS_AT_ONCE):
            for account_id in accounts:
                made += await store.close(self._db, account_id)
        return made

    async def flush(self, account_id: UUID) -> None:
        """Close the account's window now and send what there is: an invoice is about to be finalized."""
        await store.close(self._db, account_id)
        await self.send_due(account_id)

    async def send_due(self, account_id: UUID | None = None) -> int:
        """Send what is due, of one account when asked; return how many attempts that were.

        Any number of workers may call it: each window is with one of them, for `LEASE_SECONDS`. Without a key
        of Stripe everything waits.
        """
        attempts = 0
        while self._stripe.is_configured and (
            taken := await store.claim_due(self._db, uuid4(), LEASE_SECONDS, AT_ONCE, account_id)
        ):
            await asyncio.gather(*map(self._attempt, taken))
            attempts += len(taken)
        return attempts

    async def run(self) -> None:
        """Close and send what is due."""
        await self.close_due()
        await self.send_due()

    async def counts(self) -> tuple[int, int, float]:
        """Return how many windows wait, how many are dead, and for how many seconds the oldest has waited."""
        return await store.counts(self._db)

    async def compare(self, days: int) -> MeterComparison:
        """Compare what was sent for each customer within so many whole days with Stripe's own sums.

        Stripe counts asynchronously: what was sent in the last minutes may be missing there for a while.
        """
        until = _minute_of(await store.database_now(self._db))
        since = until - timedelta(days=days)
        counted = await store.customer_counts(self._db, since, until)
        differences = []
        for each in counted:
            at_stripe = await self._sum_at_stripe(each.customer_id, since, until)
            # Of what is on its way nobody knows how much has arrived.
            if not each.sent_units <= at_stripe <= each.sent_units + each.pending_units:
                differences.append(
                    MeterDifference(
                        account_id=public_id("acc", each.account_id),
                        customer_id=each.customer_id,
                        sent_units=each.sent_units,
                        stripe_units=at_stripe,
                    )
                )
        return MeterComparison(
            customers=len(counted),
            pending_units=sum(each.pending_units for each in counted),
            dead_units=sum(each.dead_units for each in counted),
            differences=tuple(differences),
        )

    async def _attempt(self, window: MeterWindow) -> None:
        try:
            await self._send_or_compare(window)
        except StripeRefused as refused:
            if _DUPLICATE in refused.message:
                await self._finish(window, "sent", None)
                return
            # Refused is surely not counted. Somebody has to mend the meter; the window waits for it.
            await self._put_off(window, refused.message, REFUSED_PAUSE_SECONDS, is_certain=True)
        except StripeMisconfigured as error:
            await self._put_off(window, error.message, REFUSED_PAUSE_SECONDS, is_certain=True)
        except Unavailable as error:
            pause = PAUSES_SECONDS[min(window.attempts, len(PAUSES_SECONDS)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311
            await self._put_off(window, error.message, pause, is_certain=False)

    async def _send_or_compare(self, window: MeterWindow) -> None:
        now = await store.database_now(self._db)
        if now - window.counted_at > TOO_OLD:
            await self._finish(window, "dead", "Stripe takes no usage that is older than 35 days.")
            return
        is_trusted = window.uncertain_since is None or now - window.uncertain_since <= TRUSTED
        if not is_trusted and not await self._is_missing(window):
            return
        await self._stripe.call(lambda client: _send(client, window))
        await self._finish(window, "sent", None)

    async def _is_missing(self, window: MeterWindow) -> bool:
        """Ask Stripe whether it has counted a window; settle it unless it surely has not."""
        minute = _minute_of(window.counted_at)
        at_stripe = await self._sum_at_stripe(window.customer_id, minute, minute + _MINUTE)
        sent = await store.units_sent_in_minute(self._db, window, minute)
        if at_stripe == sent:
            return True
        if at_stripe >= sent + window.units:
            await self._finish(window, "sent", None)
        else:
            reason = f"Stripe has {at_stripe} units of this minute, {sent} were sent besides these."
            await self._finish(window, "dead", reason)
        return False

    async def _finish(self, window: MeterWindow, state: str, error: str | None) -> None:
        self._observe(state)
        if error is not None:
            LOGGER.error("metered units of %s are not sent: %s", window.identifier, error)
        await store.finish(self._db, window, state, error)

    async def _put_off(
        self, window: MeterWindow, reason: str, pause_seconds: float, *, is_certain: bool
    ) -> None:
        self._observe("failed")
        reason = redact(reason)
        LOGGER.warning(
            "metered units of %s wait (attempt %d): %s", window.identifier, window.attempts, reason
        )
        await store.put_off(self._db, window, reason, pause_seconds, is_certain=is_certain)

    async def _sum_at_stripe(self, customer_id: str, since: datetime, until: datetime) -> int:
        meter_id = await self._meter()
        wanted: Any = {
            "customer": customer_id,
            "start_time": int(since.timestamp()),
            "end_time": int(until.timestamp()),
        }
        try:
            found = await self._stripe.call(
                lambda client: client.v1.billing.meters.event_summaries.list_async(meter_id, wanted)
            )
        except StripeRefused as refused:
            if refused.stripe_code == "resource_missing":  # the customer was deleted
                return 0
            raise
        return int(sum(Decimal(str(each.aggregated_value)) for each in found.data))

    async def _meter(self) -> str:
        """Return the id of the meter. Raises `StripeRefused` when there is none."""
        if self._meter_id is None:
            wanted: Any = {"status": "active", "limit": 100}
            found = await self._stripe.call(lambda client: client.v1.billing.meters.list_async(wanted))
            names = {meter.event_name: meter.id for meter in found.data}
            if METER not in names:
                raise StripeRefused(f"There is no meter {METER} at Stripe; run `api-factory billing setup`.")
            self._meter_id = names[METER]
        return self._meter_id


async def _send(client: Client, window: MeterWindow) -> None:
    event: Any = {
        "event_name": window.meter,
        "identifier": window.identifier,
        "timestamp": int(window.counted_at.timestamp()),
        "payload": {CUSTOMER_KEY: window.customer_id, VALUE_KEY: str(window.units)},
    }
    await client.v1.billing.meter_events.create_async(event)


def _minute_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
