"""How a subscription stands: what payments, failures and their end do to its status.

https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses
"""

from __future__ import annotations

from typing import Any

from fake_stripe import invoicing
from fake_stripe.world import Resource, World

TERMINAL = ("canceled", "incomplete_expired")
UPDATED = "customer.subscription.updated"
EXPIRES_AFTER_SECONDS = 23 * 3_600
"""How long a first invoice, or the invoice of a pending update, waits for its payment."""

_OWES = ("incomplete", "past_due", "unpaid")


def paid(world: World, invoice: Resource) -> None:
    """Let a payment take effect: an upgrade that waited for it, and access that was lost for want of it."""
    subscription = invoicing.subscription_of(world, invoice)
    if subscription is None or subscription["status"] in TERMINAL:
        return
    if subscription.get("_pending_invoice") == invoice["id"]:
        apply_pending_update(world, subscription)
    if subscription.get("_resumes_with") == invoice["id"]:
        resumed(world, subscription)
    if subscription["status"] in _OWES and not _owes_more(world, subscription):
        is_trialing = (subscription["trial_end"] or 0) > world.now()
        with world.changing(subscription, UPDATED):
            subscription["status"] = "trialing" if is_trialing else "active"
    _tell_delinquency(world, invoice["customer"])


def failed(world: World, invoice: Resource) -> None:
    """Let a failed payment take effect: past due, or paused where the policy says so."""
    subscription = invoicing.subscription_of(world, invoice)
    if subscription is None or subscription.get("_pending_invoice") == invoice["id"]:
        return
    if subscription["status"] in ("active", "trialing"):
        if world.policy.first_failure == "pause":
            pause(world, subscription, "first_payment_failure")
        else:
            with world.changing(subscription, UPDATED):
                subscription["status"] = "past_due"
    if subscription["status"] != "incomplete":
        _tell_delinquency(world, invoice["customer"])


def give_up(world: World, invoice: Resource) -> None:
    """Do what the policy says when the last try has failed."""
    invoice["_has_given_up"] = True
    subscription = invoicing.subscription_of(world, invoice)
    if subscription is None or subscription["status"] in TERMINAL:
        return
    action = world.policy.final_action
    if action == "cancel":
        cancel(world, subscription, reason="payment_failed")
    elif action == "pause":
        pause(world, subscription, "final_payment_failure")
    elif action == "unpaid":
        with world.changing(subscription, UPDATED):
            subscription["status"] = "unpaid"


def cancel(world: World, subscription: Resource, *, reason: str = "cancellation_requested") -> None:
    """End a subscription now. Its open invoices are no longer tried on their own."""
    now = world.now()
    subscription |= {
        "status": "canceled",
        "status_details": None,
        "canceled_at": subscription["canceled_at"] or now,
        "ended_at": now,
        "pending_update": None,
    }
    subscription["cancellation_details"] = {**subscription["cancellation_details"], "reason": reason}
    for invoice in open_invoices(world, subscription):
        invoice |= {"auto_advance": False, "next_payment_attempt": None}
    schedule = world.find("subscription_schedule", subscription["schedule"])
    if schedule is not None:
        schedule |= {"status": "canceled", "canceled_at": now, "current_phase": None}
        world.emit("subscription_schedule.canceled", schedule)
    world.emit("customer.subscription.deleted", subscription)


def expire(world: World, subscription: Resource) -> None:
    """End a subscription whose first invoice was not paid in 23 hours."""
    for invoice in open_invoices(world, subscription):
        invoicing.void(world, invoice)
    with world.changing(subscription, UPDATED):
        subscription |= {"status": "incomplete_expired", "ended_at": world.now()}


def pause(world: World, subscription: Resource, kind: str) -> None:
    """Pause a subscription; `kind` is the reason that `status_details` tells."""
    with world.changing(subscription, UPDATED):
        subscription["status"] = "paused"
        subscription["status_details"] = {
            "paused": {"subscription": {"type": kind}, "transitioned_at": world.now(), "type": "subscription"}
        }
    world.emit("customer.subscription.paused", subscription)


def resumed(world: World, subscription: Resource) -> None:
    """Let a paused subscription be active again."""
    with world.changing(subscription, UPDATED):
        subscription |= {"status": "active", "status_details": None, "_resumes_with": None}
    world.emit("customer.subscription.resumed", subscription)


def apply_pending_update(world: World, subscription: Resource) -> None:
    """Make the change that waited for its payment."""
    with world.changing(subscription, UPDATED):
        subscription["items"]["data"] = subscription["_pending_items"]
        subscription |= subscription["_pending_fields"]
        _forget_pending(subscription)
    world.emit("customer.subscription.pending_update_applied", subscription)


def expire_pending_update(world: World, subscription: Resource) -> None:
    """Forget a change whose payment did not come in 23 hours."""
    invoice = world.find("invoice", subscription["_pending_invoice"])
    if invoice is not None and invoice["status"] == "open":
        invoicing.void(world, invoice)
    with world.changing(subscription, UPDATED):
        _forget_pending(subscription)
    world.emit("customer.subscription.pending_update_expired", subscription)


def open_invoices(world: World, subscription: Resource) -> list[Resource]:
    """Return the invoices of a subscription that wait for payment, oldest first."""
    return [
        invoice
        for invoice in world.all("invoice")
        if invoice["_subscription"] == subscription["id"] and invoice["status"] == "open"
    ]


def _forget_pending(subscription: Resource) -> None:
    cleared: dict[str, Any] = dict.fromkeys(
        ("pending_update", "_pending_invoice", "_pending_items", "_pending_fields")
    )
    subscription |= cleared


def _owes_more(world: World, subscription: Resource) -> bool:
    return any(invoice["attempted"] for invoice in open_invoices(world, subscription))


def _tell_delinquency(world: World, name: str) -> None:
    customer = world.find("customer", name)
    if customer is None:
        return
    with world.changing(customer, "customer.updated"):
        customer["delinquent"] = any(
            one["customer"] == name and one["status"] == "open" and one["attempted"]
            for one in world.all("invoice")
        )
