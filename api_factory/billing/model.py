"""What the slice speaks of: Stripe's objects as they were fetched, and the rows that stand for them here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal
from uuid import UUID

EventSource = Literal["webhook", "reconcile", "refresh"]
ENTITLING_METADATA = "account_id"
"""The metadata of customers and subscriptions that names our account by its public id, `acc_…`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingRules:
    """The owner's rules.

    `grace` is how long keys work while a payment is owed, None until Stripe has given up; `retry_days` are
    days after the first failure on which this server asks for the payment itself; `fallback_plan` is the plan
    of whoever has no subscription left.
    """

    grace: timedelta | None
    retry_days: tuple[int, ...] = ()
    fallback_plan: str = "free"


class SubscriptionState(StrEnum):
    """What a subscription means here; docs/explanation/billing.md has the table."""

    PENDING = "pending"
    TRIALING = "trialing"
    ACTIVE = "active"
    GRACE = "grace"
    SUSPENDED = "suspended"
    ENDED = "ended"

    @property
    def grants(self) -> bool:
        """Tell whether the plan may be used."""
        return self in (SubscriptionState.TRIALING, SubscriptionState.ACTIVE, SubscriptionState.GRACE)

    @property
    def is_live(self) -> bool:
        """Tell whether Stripe may still charge for it."""
        return self is not SubscriptionState.ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedItem:
    """One item of a subscription; `usage_type` is `licensed` or `metered`."""

    id: str
    price_id: str
    lookup_key: str | None
    plan_metadata: str | None
    usage_type: str
    quantity: int
    period_start: datetime | None
    period_end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedSubscription:
    """A subscription as Stripe has it; times are Stripe's."""

    id: str
    customer_id: str
    livemode: bool
    status: str
    created_at: datetime
    items: tuple[FetchedItem, ...]
    currency: str
    account_reference: str | None
    cycle_anchor: datetime | None
    trial_ends_at: datetime | None
    cancel_at: datetime | None
    cancels_at_period_end: bool
    ended_at: datetime | None
    ended_reason: str | None
    paused_reason: str | None
    pause_collection: str | None
    has_pending_update: bool
    schedule_id: str | None
    latest_invoice_id: str | None
    default_payment_method_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedInvoice:
    """An invoice as Stripe has it; amounts are in the currency's smallest unit.

    `owed_since` is when it was first to be paid: the end of its term when it is sent, its finalization when
    a payment method on file is charged. Stripe makes its first attempt then.
    `decline_code` is the latest refusal's, known only of an invoice that was fetched alone.
    """

    id: str
    status: str
    subscription_id: str | None
    billing_reason: str | None
    amount_due_cents: int
    currency: str
    owed_since: datetime
    attempt_count: int
    next_payment_attempt_at: datetime | None
    hosted_invoice_url: str | None
    decline_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedCustomer:
    """A customer as Stripe has it."""

    id: str
    is_deleted: bool
    account_reference: str | None
    default_payment_method_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerPicture:
    """All that decides about a customer, fetched together after the event that asks for it was claimed.

    `open_invoices` are those of subscriptions that are owed for, the oldest first.
    `offered_payment_method_id` is one that the event brought, at `offered_at`; it need not be the default.
    """

    customer: FetchedCustomer
    subscriptions: tuple[FetchedSubscription, ...]
    open_invoices: tuple[FetchedInvoice, ...] = ()
    offered_payment_method_id: str | None = None
    offered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event that is Stripe's beyond doubt, and the ids in it; the rest of its payload is not believed."""

    id: str
    type: str
    livemode: bool
    api_version: str | None
    created_at: datetime
    customer_id: str | None
    subscription_id: str | None
    object_id: str | None
    body: bytes

    @property
    def line(self) -> str:
        """Return what events are worked off in order of: the customer, without one the object."""
        return self.customer_id or self.object_id or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """How the payment of an invoice that we asked for went; None where Stripe refused the request itself."""

    is_paid: bool
    decline_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedEvent:
    """An event of the inbox under a lease: nobody else works on its line until the lease has run out."""

    seq: int
    event_id: str
    type: str
    livemode: bool
    customer_id: str | None
    subscription_id: str | None
    object_id: str | None
    attempts: int
    lease: UUID
    body: bytes
    source: EventSource
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A subscription as it stands here. `attention` is what a person has to decide, None when nothing."""

    id: str
    account_id: UUID
    customer_id: str
    livemode: bool
    status: str
    state: SubscriptionState
    reason: str | None
    is_current: bool
    plan: str | None
    item_id: str | None
    price_id: str | None
    quantity: int
    currency: str
    current_period_start: datetime | None
    current_period_end: datetime | None
    period_anchor: datetime | None
    trial_ends_at: datetime | None
    ends_at: datetime | None
    is_collection_paused: bool
    is_update_pending: bool
    is_change_scheduled: bool
    attention: str | None
    latest_invoice_id: str | None
    created_at: datetime


class Stage(StrEnum):
    """How far a dunning episode is; the last two close it."""

    GRACE = "grace"
    SUSPENDED = "suspended"
    RECOVERED = "recovered"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A stretch of time for which a subscription is owed for.

    `opened_at` is the first failure and never moves; `grace_ends_at` None waits until Stripe has given up.
    """

    id: UUID
    subscription_id: str
    account_id: UUID
    stage: Stage
    opened_at: datetime
    grace_ends_at: datetime | None
    suspended_at: datetime | None
    closed_at: datetime | None
    invoice_id: str
    invoice_status: str
    amount_due_cents: int
    currency: str
    attempt_count: int
    next_payment_attempt_at: datetime | None
    hosted_invoice_url: str | None
    failed_payment_method_id: str | None

    def is_over_at(self, now: datetime) -> bool:
        """Tell whether the grace has ended."""
        return self.grace_ends_at is not None and self.grace_ends_at <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAttempt:
    """A payment to ask Stripe for: once for each idempotency key, whoever asks and however often."""

    episode_id: UUID
    idempotency_key: str
    cause: Literal["payment_method", "schedule"]
    invoice_id: str
    payment_method_id: str | None
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing in which Stripe and this server differ; `here` and `there` are what each says."""

    kind: str
    subscription_id: str | None = None
    customer_id: str | None = None
    account_id: UUID | None = None
    here: object = None
    there: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a comparison found: events that were missing, subscriptions checked, and the differences."""

    missing_events: tuple[str, ...]
    checked: int
    differences: tuple[Difference, ...]
