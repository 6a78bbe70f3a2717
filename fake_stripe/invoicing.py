"""Invoices from draft to their end (https://docs.stripe.com/invoicing/overview); nothing here charges."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from fake_stripe.metering import usage
from fake_stripe.pricing import cost_cents
from fake_stripe.world import DAY_SECONDS, Resource, World

_BLANK: Resource = {
    "object": "invoice",
    "account_country": "US",
    "account_name": "Fake Stripe",
    "account_tax_ids": None,
    "amount_overpaid": 0,
    "amount_paid": 0,
    "amount_shipping": 0,
    "application": None,
    "attempt_count": 0,
    "attempted": False,
    "auto_advance": True,
    "automatic_tax": {
        "disabled_reason": None,
        "enabled": False,
        "liability": None,
        "provider": None,
        "status": None,
    },
    "automatically_finalizes_at": None,
    "custom_fields": None,
    "customer_account": None,
    "customer_address": None,
    "customer_phone": None,
    "customer_shipping": None,
    "customer_tax_exempt": "none",
    "customer_tax_ids": [],
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "due_date": None,
    "effective_at": None,
    "ending_balance": None,
    "footer": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "issuer": {"account": None, "type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "livemode": False,
    "metadata": {},
    "next_payment_attempt": None,
    "number": None,
    "on_behalf_of": None,
    "payment_settings": {
        "default_mandate": None,
        "payment_method_options": None,
        "payment_method_types": None,
    },
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "starting_balance": 0,
    "statement_descriptor": None,
    "status": "draft",
    "status_transitions": {
        "finalized_at": None,
        "marked_uncollectible_at": None,
        "paid_at": None,
        "voided_at": None,
    },
    "test_clock": None,
    "threshold_reason": None,
    "total_discount_amounts": [],
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}


@dataclass(frozen=True, slots=True)
class Span:
    """A time for which something is billed, from its start up to its end."""

    start: int
    end: int


def line(
    subscription: Resource, item: Resource, span: Span, amount_cents: int, *, is_proration: bool = False
) -> Resource:
    """Return a line for an item of a subscription; it gets its id with its invoice."""
    price = item["price"]
    quantity = item.get("quantity", 0)
    return {
        "object": "line_item",
        "amount": amount_cents,
        "currency": price["currency"],
        "description": _description("Proration" if is_proration else quantity, price),
        "discount_amounts": [],
        "discountable": not is_proration,
        "discounts": [],
        "livemode": False,
        "metadata": dict(subscription["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": is_proration,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"start": span.start, "end": span.end},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": subscription["id"],
        "subtotal": amount_cents,
        "taxes": [],
    }


def licensed_lines(subscription: Resource, span: Span) -> list[Resource]:
    """Return a line for each item that is paid ahead."""
    return [
        line(subscription, item, span, cost_cents(item["price"], item["quantity"]))
        for item in subscription["items"]["data"]
        if item["price"]["recurring"]["usage_type"] == "licensed"
    ]


def metered_lines(world: World, subscription: Resource, span: Span) -> list[Resource]:
    """Return a line for each item that is paid by what was used in a time."""
    lines = []
    for item in subscription["items"]["data"]:
        meter = item["price"]["recurring"]["meter"]
        if meter is not None:
            counted = {
                **item,
                "quantity": usage(world, meter, subscription["customer"], span.start, span.end),
            }
            cents = cost_cents(item["price"], counted["quantity"])
            lines.append(line(subscription, counted, span, cents) | {"_meter": meter})
    return lines


def draft(
    world: World, subscription: Resource, reason: str, lines: Sequence[Resource], span: Span
) -> Resource:
    """Make an invoice of a subscription and tell of it; `span` is what its `period_*` says."""
    customer = world.get("customer", subscription["customer"])
    name = world.new_id("in")
    invoice = copy.deepcopy(_BLANK) | {
        "id": name,
        "billing_reason": reason,
        "collection_method": subscription["collection_method"],
        "created": world.now(),
        "currency": subscription["currency"],
        "customer": customer["id"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "test_clock": customer["test_clock"],
        "lines": _lines(world, name, lines),
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        "period_start": span.start,
        "period_end": span.end,
        "_subscription": subscription["id"],
    }
    _add_up(invoice, sum(one["amount"] for one in lines), 0)
    world.add(invoice)
    world.emit("invoice.created", invoice)
    return invoice


def finalize(world: World, invoice: Resource) -> None:
    """Fix an invoice's amounts, number it, open it, and make the payment that it asks for."""
    customer = world.get("customer", invoice["customer"])
    now = world.now()
    _count_again(world, invoice)
    with world.changing(customer, "customer.updated"):
        _add_up(invoice, invoice["total"], customer["balance"])
        invoice["ending_balance"] = min(0, invoice["total"] + customer["balance"])
        customer["balance"] = invoice["ending_balance"]
        customer["currency"] = customer["currency"] or invoice["currency"]
        invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
        customer["next_invoice_sequence"] += 1
    url = f"{world.base_url}/i/{invoice['id']}"
    invoice |= {"hosted_invoice_url": url, "invoice_pdf": f"{url}/pdf", "status": "open", "effective_at": now}
    invoice["automatically_finalizes_at"] = None
    invoice["status_transitions"]["finalized_at"] = now
    if invoice["collection_method"] == "send_invoice":
        invoice["due_date"] = now + invoice["_days_until_due"] * DAY_SECONDS
    if invoice["amount_due"] > 0:
        _ask_for_payment(world, invoice)
    world.emit("invoice.finalized", invoice)


def void(world: World, invoice: Resource) -> None:
    """Make an open invoice as if it had never been."""
    _close(world, invoice, "void", "voided_at")
    world.emit("invoice.voided", invoice)


def mark_uncollectible(world: World, invoice: Resource, reason: str) -> None:
    """Write an open invoice off."""
    invoice["status_details"] = {"uncollectible": {"reason": reason}}
    _close(world, invoice, "uncollectible", "marked_uncollectible_at")
    world.emit("invoice.marked_uncollectible", invoice)


def subscription_of(world: World, invoice: Resource) -> Resource | None:
    """Return the subscription that an invoice bills."""
    return world.find("subscription", invoice["_subscription"])


def intent_of(world: World, invoice: Resource) -> Resource | None:
    """Return the payment intent of a finalized invoice."""
    return world.find("payment_intent", invoice.get("_intent"))


def payments_of(world: World, invoice: Resource) -> list[Resource]:
    """Return the payments of an invoice."""
    return [one for one in world.all("invoice_payment") if one["invoice"] == invoice["id"]]


def _close(world: World, invoice: Resource, status: str, moment: str) -> None:
    invoice |= {"status": status, "next_payment_attempt": None, "auto_advance": False}
    invoice["status_transitions"][moment] = world.now()
    intent = intent_of(world, invoice)
    if intent is not None and intent["status"] != "succeeded":
        intent["status"] = "canceled"
        for payment in payments_of(world, invoice):
            payment["status"] = "canceled"
            payment["status_transitions"]["canceled_at"] = world.now()


def _lines(world: World, invoice: str, lines: Sequence[Resource]) -> Resource:
    numbered = [one | {"id": world.new_id("il"), "invoice": invoice} for one in lines]
    url = f"/v1/invoices/{invoice}/lines"
    return {"object": "list", "data": numbered, "has_more": False, "total_count": len(numbered), "url": url}


def _count_again(world: World, invoice: Resource) -> None:
    # What was used in the period may be told of until the draft is finalized: hence its hour.
    for one in invoice["lines"]["data"]:
        if "_meter" not in one:
            continue
        period, price = one["period"], world.get("price", one["pricing"]["price_details"]["price"])
        used = usage(world, one["_meter"], invoice["customer"], period["start"], period["end"])
        cents = cost_cents(price, used)
        one |= {"amount": cents, "subtotal": cents, "quantity": used, "quantity_decimal": str(used)}
        one["description"] = _description(used, price)
    invoice["total"] = sum(one["amount"] for one in invoice["lines"]["data"])


def _description(what: object, price: Resource) -> str:
    return f"{what} x {price['nickname'] or price['id']}"


def _add_up(invoice: Resource, total_cents: int, balance_cents: int) -> None:
    due = max(0, total_cents + balance_cents)
    invoice |= {
        "amount_due": due,
        "amount_remaining": due,
        "starting_balance": balance_cents,
        "subtotal": total_cents,
        "subtotal_excluding_tax": total_cents,
        "total": total_cents,
        "total_excluding_tax": total_cents,
    }


def _ask_for_payment(world: World, invoice: Resource) -> None:
    name = world.new_id("pi")
    intent: Resource = {
        "id": name,
        "object": "payment_intent",
        "amount": invoice["amount_due"],
        "amount_capturable": 0,
        "amount_received": 0,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{name}_secret_{world.draw().hex()[:24]}",
        "confirmation_method": "automatic",
        "created": world.now(),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "description": "Subscription",
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "payment_method": None,
        "payment_method_types": ["card"],
        "receipt_email": None,
        "setup_future_usage": "off_session",
        "status": "requires_payment_method",
        "_invoice": invoice["id"],
    }
    world.add(intent)
    invoice["_intent"] = name
    world.add(_payment(world, invoice, name))
    world.emit("payment_intent.created", intent)


def _payment(world: World, invoice: Resource, intent: str) -> Resource:
    return {
        "id": world.new_id("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": invoice["amount_due"],
        "created": world.now(),
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent, "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
