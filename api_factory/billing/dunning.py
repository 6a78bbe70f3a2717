"""What happens while a subscription is owed for: one grace from the first failure, and when to ask again.

Stripe owns the retries (https://docs.stripe.com/billing/revenue-recovery/smart-retries). This server asks for
a payment of its own only when a payment method has arrived, and on days that the owner names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from api_factory.billing.model import (
    BillingRules,
    CustomerPicture,
    Episode,
    FetchedInvoice,
    FetchedSubscription,
    Stage,
    WantedAttempt,
)
from api_factory.ids import uuid7

OWED: Final = frozenset({"past_due", "unpaid"})
HARD_DECLINES: Final = frozenset(
    {
        "incorrect_number",
        "lost_card",
        "pickup_card",
        "stolen_card",
        "revocation_of_authorization",
        "revocation_of_all_authorizations",
        "authentication_required",
        "highest_risk_level",
        "transaction_not_allowed",
    }
)
"""Declines that Stripe does not retry without another payment method, as its page on Smart Retries says."""


def follow(
    fetched: FetchedSubscription,
    episode: Episode | None,
    picture: CustomerPicture,
    account_id: UUID,
    rules: BillingRules,
    now: datetime,
) -> tuple[tuple[Episode, ...], tuple[WantedAttempt, ...]]:
    """Return the episodes of a subscription as they are now, and the payments that are to be asked for.

    `episode` is the open one, None when there is none. One closes as `recovered` when what it began with is
    settled and as `ended` when the subscription ends unpaid; at most one of those returned is open.
    """
    if fetched.status not in OWED:
        return _left(fetched, episode, now), ()
    invoices = [each for each in picture.open_invoices if each.subscription_id == fetched.id]
    method = fetched.default_payment_method_id or picture.customer.default_payment_method_id
    settled: tuple[Episode, ...] = ()
    if episode is not None and _has_moved_on(episode, invoices):
        settled, episode = (closed(episode, Stage.RECOVERED, now),), None
    if episode is None:
        first = invoices[0] if invoices else _unseen(fetched)
        episode = _opened(fetched, first, account_id, method, rules)
    if invoices:
        episode = _with_invoice(episode, invoices[0])
    if fetched.status == "unpaid" or episode.is_over_at(now):
        episode = _suspended(episode, now)
    else:
        episode = replace(episode, stage=Stage.GRACE, suspended_at=None)
    return (*settled, episode), _wanted(episode, picture, method, rules, now)


def at(episode: Episode, now: datetime) -> Episode:
    """Return the episode at a moment: its grace may have ended."""
    return _suspended(episode, now) if episode.is_over_at(now) else episode


def closed(episode: Episode, stage: Stage, now: datetime) -> Episode:
    """Return the episode closed; one that is closed stays as it is."""
    return episode if episode.closed_at is not None else replace(episode, stage=stage, closed_at=now)


def may_ask_again(invoice: FetchedInvoice, cause: str) -> bool:
    """Tell whether this server may ask for a payment of an invoice that was fetched just now.

    Never of one that is not open. By the owner's own days also never while Stripe has an attempt of its own
    ahead, nor after a hard decline: only another payment method helps, and that is the other cause.
    """
    if invoice.status != "open":
        return False
    if cause == "payment_method":
        return True
    return invoice.next_payment_attempt_at is None and invoice.decline_code not in HARD_DECLINES


def _left(fetched: FetchedSubscription, episode: Episode | None, now: datetime) -> tuple[Episode, ...]:
    if episode is None:
        return ()
    if fetched.status in ("active", "trialing"):
        return (closed(episode, Stage.RECOVERED, now),)
    if fetched.status in ("canceled", "incomplete_expired", "paused"):
        return (closed(episode, Stage.ENDED, now),)
    return (episode,)


def _has_moved_on(episode: Episode, invoices: Sequence[FetchedInvoice]) -> bool:
    """Tell whether what the episode began with is settled and something later is owed: another episode."""
    return bool(invoices) and all(each.id != episode.invoice_id for each in invoices)


def _unseen(fetched: FetchedSubscription) -> FetchedInvoice:
    """Stand in for the invoice where Stripe shows none that is open: owed since the period began."""
    starts = [item.period_start for item in fetched.items if item.period_start is not None]
    return FetchedInvoice(
        id=fetched.latest_invoice_id or fetched.id,
        status="unknown",
        subscription_id=fetched.id,
        billing_reason=None,
        amount_due_cents=0,
        currency=fetched.currency,
        owed_since=min(starts, default=fetched.created_at),
        attempt_count=0,
        next_payment_attempt_at=None,
        hosted_invoice_url=None,
    )


def _opened(
    fetched: FetchedSubscription,
    first: FetchedInvoice,
    account_id: UUID,
    method: str | None,
    rules: BillingRules,
) -> Episode:
    return Episode(
        id=uuid7(),
        subscription_id=fetched.id,
        account_id=account_id,
        stage=Stage.GRACE,
        opened_at=first.owed_since,
        grace_ends_at=None if rules.grace is None else first.owed_since + rules.grace,
        suspended_at=None,
        closed_at=None,
        invoice_id=first.id,
        invoice_status=first.status,
        amount_due_cents=first.amount_due_cents,
        currency=first.currency,
        attempt_count=first.attempt_count,
        next_payment_attempt_at=first.next_payment_attempt_at,
        hosted_invoice_url=first.hosted_invoice_url,
        failed_payment_method_id=method,
    )


def _with_invoice(episode: Episode, invoice: FetchedInvoice) -> Episode:
    return replace(
        episode,
        invoice_status=invoice.status,
        amount_due_cents=invoice.amount_due_cents,
        attempt_count=invoice.attempt_count,
        next_payment_attempt_at=invoice.next_payment_attempt_at,
        hosted_invoice_url=invoice.hosted_invoice_url,
    )


def _suspended(episode: Episode, now: datetime) -> Episode:
    if episode.stage is not Stage.GRACE:
        return episode
    return replace(episode, stage=Stage.SUSPENDED, suspended_at=now)


def _wanted(
    episode: Episode, picture: CustomerPicture, method: str | None, rules: BillingRules, now: datetime
) -> tuple[WantedAttempt, ...]:
    methods = [method if method != episode.failed_payment_method_id else None]
    if picture.offered_at is not None and picture.offered_at > episode.opened_at:
        methods.append(picture.offered_payment_method_id)
    arrived = [
        _attempt(episode, "payment_method", each, each, now)
        for each in dict.fromkeys(methods)
        if each is not None
    ]
    planned = [
        _attempt(episode, "schedule", f"day{day}", None, episode.opened_at + timedelta(days=day))
        for day in rules.retry_days
    ]
    return (*arrived, *planned)


def _attempt(
    episode: Episode, cause: str, what: str | None, method: str | None, due_at: datetime
) -> WantedAttempt:
    return WantedAttempt(
        episode_id=episode.id,
        idempotency_key=f"pay:{episode.invoice_id}:{what}",
        cause="schedule" if cause == "schedule" else "payment_method",
        invoice_id=episode.invoice_id,
        payment_method_id=method,
        due_at=due_at,
    )
