"""Charging an invoice: which card, what its bank says, and when the next try is."""

from __future__ import annotations

from fake_stripe import cards, invoicing, standing
from fake_stripe.errors import StripeError, card_error, invalid
from fake_stripe.world import DAY_SECONDS, Resource, World, shown


def method_for(world: World, subscription: Resource | None, customer: Resource) -> Resource | None:
    """Return the payment method in Stripe's order: the subscription's, then the customer's default."""
    named = subscription["default_payment_method"] if subscription else None
    return world.find("payment_method", named or customer["invoice_settings"]["default_payment_method"])


def refusal(method: Resource | None) -> StripeError | None:
    """Return the refusal that a charge to the method would meet, None when it would succeed."""
    if method is None:
        return invalid(
            "This customer has no payment method to charge. Attach one and make it the default.",
            code="resource_missing",
        )
    behaviour = method["_behaviour"]
    if behaviour == cards.SUCCEEDS:
        return None
    code = cards.error_code(behaviour)
    return card_error(code, cards.message(behaviour), cards.decline_code(behaviour))


def attempt(
    world: World, invoice: Resource, *, method: Resource | None = None, is_scheduled: bool = False
) -> StripeError | None:
    """Charge an open invoice once; return the refusal, None when it is paid.

    `is_scheduled` is true for the tries of Stripe's own schedule, which alone move to the next one.
    """
    subscription = invoicing.subscription_of(world, invoice)
    method = method or method_for(world, subscription, world.get("customer", invoice["customer"]))
    refused = refusal(method)
    invoice["attempt_count"] += 1
    invoice["attempted"] = True
    if refused is None:
        _settle(world, invoice, method)
        return None
    _note_failure(world, invoice, method, refused)
    _plan_next(world, invoice, refused, is_scheduled)
    world.emit("invoice.payment_failed", invoice)
    if _needs_action(method):
        world.emit("invoice.payment_action_required", invoice)
    standing.failed(world, invoice)
    if _is_exhausted(invoice):
        standing.give_up(world, invoice)
    return refused


def settle_without_charge(world: World, invoice: Resource) -> None:
    """Mark an open invoice paid: nothing was due, or it was paid elsewhere."""
    _settle(world, invoice, None)


def _settle(world: World, invoice: Resource, method: Resource | None) -> None:
    now, amount = world.now(), invoice["amount_due"]
    invoice |= {
        "status": "paid",
        "amount_paid": amount,
        "amount_remaining": 0,
        "attempted": True,
        "auto_advance": False,
        "next_payment_attempt": None,
    }
    invoice["status_transitions"]["paid_at"] = now
    intent = invoicing.intent_of(world, invoice)
    if intent is not None and method is not None:
        intent |= {
            "status": "succeeded",
            "amount_received": amount,
            "payment_method": method["id"],
            "last_payment_error": None,
            "next_action": None,
        }
        world.emit("payment_intent.succeeded", intent)
    for payment in invoicing.payments_of(world, invoice):
        payment |= {"status": "paid", "amount_paid": amount}
        payment["status_transitions"]["paid_at"] = now
        world.emit("invoice_payment.paid", payment)
    standing.paid(world, invoice)
    world.emit("invoice.paid", invoice)
    world.emit("invoice.payment_succeeded", invoice)


def _note_failure(world: World, invoice: Resource, method: Resource | None, refused: StripeError) -> None:
    intent = invoicing.intent_of(world, invoice)
    if intent is None or method is None:
        return
    if _needs_action(method):
        intent |= {"status": "requires_action", "payment_method": method["id"]}
        intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        world.emit("payment_intent.requires_action", intent)
        return
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent["last_payment_error"] = refused.body | {"payment_method": shown(method)}
    world.emit("payment_intent.payment_failed", intent)


def _needs_action(method: Resource | None) -> bool:
    return method is not None and method["_behaviour"] == cards.AUTHENTICATION


def _plan_next(world: World, invoice: Resource, refused: StripeError, is_scheduled: bool) -> None:
    if not is_scheduled or invoice["billing_reason"] == "subscription_create":
        return
    waits = world.policy.retry_after_days
    if "_gives_up_at" not in invoice:
        invoice["_gives_up_at"] = world.now() + sum(waits) * DAY_SECONDS
        invoice["_waits"] = list(waits)
    if (
        refused.body.get("decline_code") in cards.HARD_DECLINES
        or refused.body.get("code") == "resource_missing"
    ):
        invoice["next_payment_attempt"] = None  # Stripe tries no more; the window goes on
    elif invoice["_waits"]:
        invoice["next_payment_attempt"] = world.now() + invoice["_waits"].pop(0) * DAY_SECONDS
    else:
        invoice["next_payment_attempt"] = None
        invoice["_gives_up_at"] = world.now()


def _is_exhausted(invoice: Resource) -> bool:
    has_tried_all = invoice.get("_waits") == [] and invoice["next_payment_attempt"] is None
    return has_tried_all and not invoice.get("_has_given_up")
