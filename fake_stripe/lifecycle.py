"""What a subscription lives through: start, trial's end, renewal, change, pause and return.

https://docs.stripe.com/billing/subscriptions/overview
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fake_stripe import charging, invoicing, standing
from fake_stripe.invoicing import Span
from fake_stripe.periods import end_after
from fake_stripe.pricing import cost_cents, share_cents
from fake_stripe.world import Resource, World

UPDATED = standing.UPDATED


@dataclass(frozen=True, slots=True)
class Terms:
    """How a change is billed and paid."""

    proration: str = "create_prorations"
    payment: str = "allow_incomplete"
    at: int | None = None
    restarts_period: bool = False


def start(world: World, subscription: Resource, payment: str) -> None:
    """Begin a subscription that has its items and trial; bill its first period.

    Raises the card's refusal, and leaves nothing behind, under `error_if_incomplete`.
    """
    is_automatic = subscription["collection_method"] == "charge_automatically"
    lines = [] if subscription["trial_end"] else invoicing.licensed_lines(subscription, _period(subscription))
    owes = is_automatic and sum(line["amount"] for line in lines) > 0
    if owes and payment == "error_if_incomplete":
        _refuse_bad_card(world, subscription)
    subscription["status"] = "trialing" if subscription["trial_end"] else "incomplete" if owes else "active"
    if owes:
        subscription["_expires_at"] = world.now() + standing.EXPIRES_AFTER_SECONDS
    world.add(subscription)
    world.emit("customer.subscription.created", subscription)
    invoice = bill(world, subscription, "subscription_create", lines)
    if is_automatic:
        finalize_and_charge(world, invoice, charges=payment != "default_incomplete")


def bill(
    world: World, subscription: Resource, reason: str, lines: Sequence[Resource], span: Span | None = None
) -> Resource:
    """Draft an invoice and name it the subscription's latest; it finalizes by itself after an hour."""
    invoice = invoicing.draft(world, subscription, reason, lines, span or _period(subscription))
    invoice["_days_until_due"] = subscription["days_until_due"]
    invoice["automatically_finalizes_at"] = world.now() + world.policy.finalize_after_seconds
    with world.changing(subscription, UPDATED):
        subscription["latest_invoice"] = invoice["id"]
    return invoice


def finalize_and_charge(
    world: World, invoice: Resource, *, charges: bool = True, is_scheduled: bool = False
) -> None:
    """Finalize a draft and charge it at once, where it is charged at all."""
    invoicing.finalize(world, invoice)
    if invoice["amount_due"] == 0:
        charging.settle_without_charge(world, invoice)
    elif charges and invoice["collection_method"] == "charge_automatically":
        charging.attempt(world, invoice, is_scheduled=is_scheduled)


def renew(world: World, subscription: Resource) -> Resource:
    """Go on into the next period, and return the invoice of what was used, what waited, and what is ahead."""
    items = subscription["items"]["data"]
    last = _period(subscription)
    span = Span(
        last.end, end_after(subscription["billing_cycle_anchor"], last.end, items[0]["price"]["recurring"])
    )
    lines = invoicing.metered_lines(world, subscription, last) + subscription["_pending_lines"]
    with world.changing(subscription, UPDATED):
        for item in items:
            item |= {"current_period_start": span.start, "current_period_end": span.end}
        if subscription["status"] == "trialing":
            subscription["status"] = "active"
        invoice = invoicing.draft(
            world,
            subscription,
            "subscription_cycle",
            lines + invoicing.licensed_lines(subscription, span),
            last,
        )
        subscription["latest_invoice"] = invoice["id"]
    subscription["_pending_lines"] = []
    invoice["_days_until_due"] = subscription["days_until_due"]
    _plan_collection(world, subscription, invoice)
    return invoice


def end_trial(world: World, subscription: Resource, *, bills_at_once: bool = False) -> None:
    """End a trial: renew, or without a payment method do what `trial_settings` says."""
    customer = world.get("customer", subscription["customer"])
    wanted = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if wanted != "create_invoice" and charging.method_for(world, subscription, customer) is None:
        if wanted == "cancel":
            standing.cancel(world, subscription)
        else:
            standing.pause(world, subscription, "trial_end_without_payment_method")
        return
    subscription["billing_cycle_anchor"] = world.now()
    invoice = renew(world, subscription)
    if bills_at_once:
        finalize_and_charge(world, invoice, is_scheduled=True)


def end(world: World, subscription: Resource) -> None:
    """End a subscription at the time it was to end; bill what was used and what waited."""
    lines = (
        invoicing.metered_lines(world, subscription, _period(subscription)) + subscription["_pending_lines"]
    )
    subscription["_pending_lines"] = []
    if lines:
        bill(world, subscription, "subscription_cycle", lines)
    standing.cancel(world, subscription)


@dataclass(frozen=True, slots=True)
class _Change:
    """What a change comes to: its lines, whether they are billed now, and the card's refusal of them."""

    lines: list[Resource]
    fields: Resource
    bills_now: bool
    refused: Exception | None


def refuse_unpaid(world: World, subscription: Resource, items: list[Resource], terms: Terms) -> None:
    """Raise the card's refusal of a change under `error_if_incomplete`, before anything is changed."""
    if terms.payment == "error_if_incomplete":
        planned = _plan_change(world, subscription, [dict(item) for item in items], terms)
        if planned.refused is not None:
            raise planned.refused


def change(world: World, subscription: Resource, items: list[Resource], terms: Terms) -> None:
    """Give a subscription other items, prorated by time, and bill it as the terms say.

    With `pending_if_incomplete` the change waits until its invoice is paid; with `error_if_incomplete` a
    refused card leaves all as it was.
    """
    refuse_unpaid(world, subscription, items, terms)
    planned = _plan_change(world, subscription, items, terms)
    is_pending = planned.refused is not None and terms.payment == "pending_if_incomplete"
    if not is_pending:
        with world.changing(subscription, UPDATED):
            subscription["items"] |= {"data": items, "total_count": len(items)}
            subscription |= planned.fields
    if not planned.bills_now:
        subscription["_pending_lines"] += planned.lines
        return
    if not planned.lines:
        return
    invoice = bill(world, subscription, "subscription_update", subscription["_pending_lines"] + planned.lines)
    subscription["_pending_lines"] = []
    invoice["parent"]["subscription_details"]["subscription_proration_date"] = terms.at or world.now()
    if is_pending:
        _wait_for_payment(world, subscription, invoice, items, planned.fields)
    finalize_and_charge(world, invoice, is_scheduled=not is_pending)


def pause(world: World, subscription: Resource, *, credits_unused: bool) -> None:
    """Pause a subscription on request; the unused time is credited to its next invoice."""
    span, now = _period(subscription), world.now()
    if credits_unused and subscription["status"] == "active":
        rest = Span(now, span.end)
        subscription["_pending_lines"] += [
            _prorated(subscription, item, rest, span, -1) for item in _licensed(subscription["items"]["data"])
        ]
    standing.pause(world, subscription, "pause_requested")


def resume(world: World, subscription: Resource, *, restarts_period: bool, needs_success: bool) -> None:
    """Let a paused subscription go on, in a new period or in the one that its anchor gives."""
    now, items = world.now(), subscription["items"]["data"]
    if restarts_period:
        subscription["billing_cycle_anchor"] = now
    recurring = items[0]["price"]["recurring"]
    boundary = end_after(subscription["billing_cycle_anchor"], now, recurring)
    for item in items:
        item |= {"current_period_start": now, "current_period_end": boundary}
    lines = subscription["_pending_lines"] + invoicing.licensed_lines(subscription, Span(now, boundary))
    subscription["_pending_lines"] = []
    invoice = bill(world, subscription, "subscription_update", lines)
    if needs_success:
        subscription["_resumes_with"] = invoice["id"]
    else:
        standing.resumed(world, subscription)
    finalize_and_charge(world, invoice, is_scheduled=True)


def _period(subscription: Resource) -> Span:
    item = subscription["items"]["data"][0]
    return Span(item["current_period_start"], item["current_period_end"])


def _interval(items: Sequence[Resource]) -> tuple[str, int]:
    recurring = items[0]["price"]["recurring"]
    return recurring["interval"], recurring["interval_count"]


def _licensed(items: Sequence[Resource]) -> list[Resource]:
    return [item for item in items if item["price"]["recurring"]["usage_type"] == "licensed"]


def _plan_change(world: World, subscription: Resource, items: list[Resource], terms: Terms) -> _Change:
    before = subscription["items"]["data"]
    restarts = terms.restarts_period or _interval(before) != _interval(items)
    fields = _move_periods(world, subscription, items) if restarts else {}
    lines = _change_lines(subscription, items, terms.at or world.now(), restarts, terms)
    bills_now = restarts or terms.proration == "always_invoice"
    owes = bills_now and sum(line["amount"] for line in lines) > 0
    return _Change(lines, fields, bills_now, _card_refusal(world, subscription) if owes else None)


def _card_refusal(world: World, subscription: Resource) -> Exception | None:
    customer = world.get("customer", subscription["customer"])
    return charging.refusal(charging.method_for(world, subscription, customer))


def _refuse_bad_card(world: World, subscription: Resource) -> None:
    refused = _card_refusal(world, subscription)
    if refused is not None:
        raise refused


def _plan_collection(world: World, subscription: Resource, invoice: Resource) -> None:
    collection = subscription["pause_collection"]
    if subscription["status"] == "unpaid" or (collection and collection["behavior"] == "keep_as_draft"):
        invoice["auto_advance"] = False
        return
    if collection:
        invoicing.finalize(world, invoice)
        if collection["behavior"] == "void":
            invoicing.void(world, invoice)
        else:
            invoicing.mark_uncollectible(world, invoice, "subscription_paused")
        return
    invoice["automatically_finalizes_at"] = world.now() + world.policy.finalize_after_seconds


def _move_periods(world: World, subscription: Resource, items: list[Resource]) -> Resource:
    now = world.now()
    boundary = end_after(now, now, items[0]["price"]["recurring"])
    for item in items:
        item |= {"current_period_start": now, "current_period_end": boundary}
    ends_with_period = subscription["cancel_at_period_end"]
    return {"billing_cycle_anchor": now} | ({"cancel_at": boundary} if ends_with_period else {})


def _change_lines(
    subscription: Resource,
    after: list[Resource],
    moment: int,
    restarts: bool,
    terms: Terms,
) -> list[Resource]:
    if subscription["status"] == "trialing" and not restarts:
        return []
    before, span = subscription["items"]["data"], _period(subscription)
    rest = Span(moment, span.end)
    kept = {(item["id"], item["price"]["id"], item.get("quantity")) for item in before} & {
        (item["id"], item["price"]["id"], item.get("quantity")) for item in after
    }
    lines = []
    if terms.proration != "none":
        lines += [_prorated(subscription, item, rest, span, -1) for item in _changed(before, kept, restarts)]
    if restarts:
        ahead = Span(after[0]["current_period_start"], after[0]["current_period_end"])
        return lines + invoicing.licensed_lines({**subscription, "items": {"data": after}}, ahead)
    if terms.proration != "none":
        lines += [_prorated(subscription, item, rest, span, 1) for item in _changed(after, kept, restarts)]
    return lines


def _changed(items: list[Resource], kept: set[tuple[str, str, int | None]], restarts: bool) -> list[Resource]:
    return [
        item
        for item in _licensed(items)
        if restarts or (item["id"], item["price"]["id"], item.get("quantity")) not in kept
    ]


def _prorated(subscription: Resource, item: Resource, rest: Span, whole: Span, sign: int) -> Resource:
    full = cost_cents(item["price"], item["quantity"])
    amount = sign * share_cents(full, rest.end - rest.start, whole.end - whole.start)
    return invoicing.line(subscription, item, rest, amount, is_proration=True)


def _wait_for_payment(
    world: World, subscription: Resource, invoice: Resource, items: list[Resource], fields: Resource
) -> None:
    with world.changing(subscription, UPDATED):
        subscription |= {
            "_pending_invoice": invoice["id"],
            "_pending_items": items,
            "_pending_fields": fields,
            "pending_update": {
                "billing_cycle_anchor": fields.get("billing_cycle_anchor"),
                "expires_at": world.now() + standing.EXPIRES_AFTER_SECONDS,
                "subscription_items": items,
                "trial_end": None,
                "trial_from_plan": None,
            },
        }
