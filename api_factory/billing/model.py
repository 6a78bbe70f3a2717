"""What the slice speaks of: Stripe's objects as they were fetched, and the rows that stand for them here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

EventSource = Literal["webhook", "reconcile", "refresh"]
ENTITLING_METADATA = "account_id"
"""The metadata of customers and subscriptions that names our account by its public id, `acc_…`."""


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
    `offered_payment_method_id` is one that the event brought and that need not be the default.
    """

    customer: FetchedCustomer
    subscriptions: tuple[FetchedSubscription, ...]
    open_invoices: tuple[FetchedInvoice, ...] = ()
    offered_payment_method_id: str | None = None


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
