"""The services of billing, joined once, and what they do in the background."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from api_factory.accounts import Accounts
from api_factory.audit import Audit
from api_factory.billing.attempts import PaymentAttempts
from api_factory.billing.buying import Buying
from api_factory.billing.inbox import Inbox, InboxWorker
from api_factory.billing.meters import Meters
from api_factory.billing.model import BillingRules
from api_factory.billing.reconcile import Reconciliation
from api_factory.billing.returns import ReturnAddresses
from api_factory.billing.service import Billing
from api_factory.billing.store import inbox as inbox_store
from api_factory.billing.stripe import Stripe
from api_factory.db import Database
from api_factory.metrics import Metrics
from api_factory.settings import Settings

CLOCK_SECONDS = 5.0
ATTEMPTS_SECONDS = 10.0
EVENTS_SECONDS = 60.0
METERS_SECONDS = 15.0
SUBSCRIPTIONS_SECONDS = 600.0
PRUNE_SECONDS = 3_600.0

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class InboxGauges:
    """How the inbox stands: what waits, how long the oldest has, what is dead."""

    pending: int
    oldest_seconds: float
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingServices:
    """Every service of billing of this process."""

    db: Database
    stripe: Stripe
    billing: Billing
    inbox: Inbox
    worker: InboxWorker
    attempts: PaymentAttempts
    reconciliation: Reconciliation
    buying: Buying
    meters: Meters

    def start(self) -> None:
        """Begin to work on the inbox, if there is a key to ask Stripe with."""
        if self.stripe.is_configured:
            self.worker.start()

    async def stop(self) -> None:
        """End the work and the connections to Stripe."""
        await self.worker.stop()
        await self.stripe.close()

    def periodics(self) -> Iterator[tuple[str, float, Work]]:
        """Yield what is done again and again: its name, the seconds between, and the work."""
        yield "grace clock", CLOCK_SECONDS, self.billing.suspend_due
        yield "inbox retention", PRUNE_SECONDS, self.inbox.prune
        yield "metered units", METERS_SECONDS, self.meters.run
        if self.stripe.is_configured:
            yield "payment attempts", ATTEMPTS_SECONDS, self.attempts.ask_due
            yield "events of Stripe", EVENTS_SECONDS, self.reconciliation.events_when_due
            yield "comparison with Stripe", SUBSCRIPTIONS_SECONDS, self.reconciliation.subscriptions_when_due

    async def gauges(self) -> InboxGauges:
        """Return how the inbox stands. Raises `Unavailable`."""
        row = await inbox_store.gauges(self.db)
        if row is None:
            return InboxGauges(0, 0.0, 0)
        return InboxGauges(row["pending"], row["oldest_seconds"], row["dead"])


def build_billing(
    settings: Settings, db: Database, audit: Audit, accounts: Accounts, billing: Billing, metrics: Metrics
) -> BillingServices:
    """Join the services; nothing is connected. Raises `ConfigurationError` for an address that is none."""
    key = settings.stripe_api_key
    stripe = Stripe(
        None if key is None else key.get_secret_value(),
        base=settings.stripe_api_base,
        is_in_transaction=db.is_in_transaction,
    )
    inbox = Inbox(db, audit, stripe, settings.webhook_secrets, observe=metrics.stripe_event)
    meters = Meters(db, stripe, observe=partial(metrics.outbox_attempt, "meter"))
    returns = ReturnAddresses.of(
        settings.billing_return_origins, allows_this_machine=not settings.is_production
    )
    return BillingServices(
        db=db,
        stripe=stripe,
        billing=billing,
        inbox=inbox,
        worker=InboxWorker(db, billing, inbox, on_invoice_created=meters.flush),
        attempts=PaymentAttempts(db, audit, inbox),
        reconciliation=Reconciliation(db, billing, inbox),
        buying=Buying(db, audit, accounts, billing, stripe, returns),
        meters=meters,
    )


def rules_of(settings: Settings) -> BillingRules:
    """Return the owner's rules."""
    return BillingRules(
        grace=None if settings.grace_days is None else timedelta(days=settings.grace_days),
        retry_days=tuple(int(day) for day in settings.payment_retry_days),
        fallback_plan=settings.fallback_plan,
    )
