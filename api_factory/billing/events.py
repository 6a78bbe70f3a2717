"""Which events of Stripe the inbox works on; all others are stored as skipped."""

from __future__ import annotations

from typing import Final

HANDLED: Final[tuple[str, ...]] = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.updated",
    "customer.deleted",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "payment_method.attached",
)
"""What the endpoint at Stripe is to send; `events.list` takes at most 20 types."""
REFRESH: Final = "api_factory.refresh"
"""Our own: a customer is to be fetched anew, without an event of Stripe."""
PAYMENT_METHOD_ATTACHED: Final = "payment_method.attached"
INVOICE_CREATED: Final = "invoice.created"
ACTION_REQUIRED: Final = "invoice.payment_action_required"

HINTING: Final = (PAYMENT_METHOD_ATTACHED, INVOICE_CREATED, ACTION_REQUIRED)
"""Events that say more than which customer changed; each of them is worked on by itself."""


def is_handled(kind: str) -> bool:
    """Tell whether an event of this type is worked on."""
    return kind in HANDLED or kind == REFRESH
