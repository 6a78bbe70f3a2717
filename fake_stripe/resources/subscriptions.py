"""Subscriptions (https://docs.stripe.com/api/subscriptions)."""

from __future__ import annotations

import copy

from fake_stripe import lifecycle, standing
from fake_stripe.errors import invalid
from fake_stripe.lifecycle import Terms
from fake_stripe.listing import is_within, matching, page
from fake_stripe.params import Params
from fake_stripe.periods import end_after
from fake_stripe.resources import payment_methods
from fake_stripe.resources.subscription_items import read_changes, read_new
from fake_stripe.router import Route
from fake_stripe.world import DAY_SECONDS, Resource, World

STATUSES = (
    "active",
    "canceled",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "paused",
    "trialing",
    "unpaid",
)
_LONGEST_TRIAL_DAYS = 730
_FURTHEST_SECONDS = 5 * 366 * DAY_SECONDS
_PRORATIONS = ("always_invoice", "create_prorations", "none")
_PAYMENTS = ("allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete")
_BLANK: Resource = {
    "object": "subscription",
    "application": None,
    "application_fee_percent": None,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
    "billing_cycle_anchor_config": None,
    "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": None},
    "billing_schedules": [],
    "billing_thresholds": None,
    "cancel_at": None,
    "cancel_at_period_end": False,
    "canceled_at": None,
    "cancellation_details": {"comment": None, "feedback": None, "reason": None},
    "collection_method": "charge_automatically",
    "customer_account": None,
    "days_until_due": None,
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "ended_at": None,
    "invoice_settings": {"account_tax_ids": None, "issuer": {"account": None, "type": "self"}},
    "latest_invoice": None,
    "livemode": False,
    "next_pending_invoice_item_invoice": None,
    "on_behalf_of": None,
    "pause_collection": None,
    "payment_settings": {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    },
    "pending_invoice_item_interval": None,
    "pending_setup_intent": None,
    "pending_update": None,
    "schedule": None,
    "status_details": None,
    "test_clock": None,
    "transfer_data": None,
    "trial_end": None,
    "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    "trial_start": None,
    "_pending_lines": [],
}


def create(world: World, params: Params) -> Resource:
    """Start a subscription for a customer, and charge its first invoice."""
    customer = world.get("customer", params.required_text("customer"), "customer")
    subscription = blank(world, customer)
    payment = params.choice("payment_behavior", *_PAYMENTS) or "allow_incomplete"
    subscription["metadata"] = params.metadata()
    _set_plain(world, params, subscription)
    set_trial(world, params, subscription)
    set_items(world, subscription, read_new(world, subscription, params.groups("items")))
    _set_end(world, params, subscription)
    params.ignore("off_session", "proration_behavior", "billing_mode", "automatic_tax", "currency")
    params.finish()
    lifecycle.start(world, subscription, payment)
    return subscription


def blank(world: World, customer: Resource) -> Resource:
    """Return a subscription without items; not kept yet."""
    return copy.deepcopy(_BLANK) | {
        "id": world.new_id("sub"),
        "created": world.now(),
        "customer": customer["id"],
        "test_clock": customer.get("test_clock"),
        "metadata": {},
        "start_date": world.now(),
        "billing_cycle_anchor": world.now(),
    }


def set_items(world: World, subscription: Resource, items: list[Resource]) -> None:
    """Give a new subscription its items, and them their first period."""
    if not items:
        raise invalid("Missing required param: items.", "items", "parameter_missing")
    now = world.now()
    boundary = subscription["trial_end"] or end_after(now, now, items[0]["price"]["recurring"])
    for item in items:
        item |= {"current_period_start": now, "current_period_end": boundary}
    subscription["billing_cycle_anchor"] = subscription["trial_end"] or now
    subscription["currency"] = items[0]["price"]["currency"]
    subscription["items"] = {
        "object": "list",
        "data": items,
        "has_more": False,
        "total_count": len(items),
        "url": f"/v1/subscription_items?subscription={subscription['id']}",
    }


def update(world: World, params: Params, name: str) -> Resource:
    """Change a subscription: its items, its end, its trial, how it is collected."""
    subscription = world.get("subscription", name)
    if subscription["status"] in standing.TERMINAL:
        raise invalid("A canceled subscription can only update its cancellation_details and metadata.")
    terms = _terms(params)
    ends_trial = params.text("trial_end") == "now" and subscription["status"] == "trialing"
    groups = params.groups("items")
    items = read_changes(world, subscription, groups) if groups else None
    if items is None and terms.restarts_period:
        items = [dict(item) for item in subscription["items"]["data"]]
    with world.changing(subscription, lifecycle.UPDATED):
        _set_changes(world, params, subscription)
        params.ignore("off_session", "automatic_tax")
        params.finish()
        if items is not None:
            _refuse_mixture(subscription, terms)
            lifecycle.refuse_unpaid(world, subscription, items, terms)
    if items is not None:
        lifecycle.change(world, subscription, items, terms)
    if ends_trial:
        lifecycle.end_trial(world, subscription, bills_at_once=True)
    return subscription


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one subscription, ended ones too."""
    params.finish()
    return world.get("subscription", name)


def list_subscriptions(world: World, params: Params) -> Resource:
    """Return subscriptions, newest first; without a status those that have not been canceled."""
    status = params.choice("status", *STATUSES, "all", "ended")
    price, was_created = params.text("price"), is_within(params, "created")
    chosen = [
        one
        for one in matching(world.all("subscription"), customer=params.text("customer"))
        if _has_status(one, status) and was_created(one["created"]) and _has_price(one, price)
    ]
    params.ignore("collection_method")
    result = page(params, "/v1/subscriptions", chosen)
    params.finish()
    return result


def cancel(world: World, params: Params, name: str) -> Resource:
    """End a subscription now."""
    subscription = world.get("subscription", name)
    if subscription["status"] in standing.TERMINAL:
        raise invalid(f"No such subscription: {name}", "id", "resource_missing")
    details = _cancellation_details(params, subscription)
    bills = params.boolean("invoice_now")
    params.ignore("prorate")
    params.finish()
    subscription["cancellation_details"] = details
    if bills:
        lifecycle.end(world, subscription)
    else:
        standing.cancel(world, subscription)
    return subscription


def pause(world: World, params: Params, name: str) -> Resource:
    """Pause a subscription: no service, no invoices."""
    subscription = world.get("subscription", name)
    if subscription["status"] not in ("active", "trialing", "past_due"):
        raise invalid(f"A subscription that is {subscription['status']} cannot be paused.")
    params.choice("type", "subscription")
    params.choice("invoicing_behavior", "invoice", "pending_invoice_item")
    bill_for = params.group("bill_for")
    unused = bill_for.group("unused_time_from") if bill_for else None
    kind = unused.choice("type", "item_current_period_start", "none", "now") if unused else "now"
    if bill_for:
        bill_for.ignore("outstanding_usage_through")
    params.finish()
    lifecycle.pause(world, subscription, credits_unused=kind != "none")
    return subscription


def resume(world: World, params: Params, name: str) -> Resource:
    """Let a paused subscription go on."""
    subscription = world.get("subscription", name)
    if subscription["status"] != "paused":
        raise invalid("Only paused subscriptions can be resumed.")
    anchor = _anchor(params) or "now"
    behaviours = ("resume_on_payment_attempt", "resume_on_payment_success")
    payment = params.choice("payment_behavior", *behaviours)
    params.ignore("proration_behavior", "proration_date")
    params.finish()
    lifecycle.resume(
        world, subscription, restarts_period=anchor == "now", needs_success=payment == behaviours[1]
    )
    return subscription


def set_trial(world: World, params: Params, subscription: Resource) -> None:
    """Give a new subscription its trial."""
    days, end = params.integer("trial_period_days"), params.text("trial_end")
    _set_trial_settings(params, subscription)
    if days and end:
        raise invalid("You cannot set both trial_end and trial_period_days.", "trial_end")
    if days is not None and not 0 <= days <= _LONGEST_TRIAL_DAYS:
        raise invalid("Trials may last 730 days at most.", "trial_period_days")
    if days:
        subscription["trial_end"] = world.now() + days * DAY_SECONDS
    elif end and end != "now":
        subscription["trial_end"] = _future(world, end, "trial_end")
    subscription["trial_start"] = world.now() if subscription["trial_end"] else None


def _set_changes(world: World, params: Params, subscription: Resource) -> None:
    subscription["metadata"] = params.metadata(subscription["metadata"])
    _set_plain(world, params, subscription)
    subscription["cancellation_details"] = _cancellation_details(params, subscription)
    _set_end(world, params, subscription)
    _set_trial_settings(params, subscription)
    _set_trial_end(world, params, subscription)
    if params.unsets("pause_collection"):
        params.text("pause_collection")
        subscription["pause_collection"] = None
    elif (collection := params.group("pause_collection")) is not None:
        behavior = collection.choice("behavior", "keep_as_draft", "mark_uncollectible", "void")
        subscription["pause_collection"] = {
            "behavior": behavior,
            "resumes_at": collection.integer("resumes_at"),
        }


def _set_plain(world: World, params: Params, subscription: Resource) -> None:
    method = params.text("default_payment_method")
    if method is not None:
        payment_methods.require_owner(world, method, subscription["customer"])
    if params.has("default_payment_method"):
        subscription["default_payment_method"] = method
    collection = params.choice("collection_method", "charge_automatically", "send_invoice")
    subscription["collection_method"] = collection or subscription["collection_method"]
    days = params.integer("days_until_due")
    subscription["days_until_due"] = subscription["days_until_due"] if days is None else days
    if subscription["collection_method"] == "send_invoice" and subscription["days_until_due"] is None:
        raise invalid(
            "If you use `collection_method=send_invoice`, you must set `days_until_due`.", "days_until_due"
        )
    if params.has("description"):
        subscription["description"] = params.text("description")
    params.ignore("payment_settings")


def _set_end(world: World, params: Params, subscription: Resource) -> None:
    at_period_end, boundary = params.boolean("cancel_at_period_end"), params.text("cancel_at")
    if at_period_end and boundary:
        raise invalid("You cannot set both cancel_at and cancel_at_period_end.", "cancel_at")
    period_end = subscription["items"]["data"][0]["current_period_end"]
    if at_period_end is True:
        subscription |= {"cancel_at_period_end": True, "cancel_at": period_end}
    elif boundary in ("min_period_end", "max_period_end"):
        subscription["cancel_at"] = period_end
    elif boundary:
        subscription["cancel_at"] = _future(world, boundary, "cancel_at")
    elif at_period_end is False or params.unsets("cancel_at"):
        subscription |= {"cancel_at_period_end": False, "cancel_at": None}
    if subscription["cancel_at"] is None:
        subscription["canceled_at"] = None
        subscription["cancellation_details"]["reason"] = None
    elif subscription["canceled_at"] is None:
        subscription["canceled_at"] = world.now()
        subscription["cancellation_details"]["reason"] = "cancellation_requested"


def _cancellation_details(params: Params, subscription: Resource) -> Resource:
    details: Resource = dict(subscription["cancellation_details"])
    group = params.group("cancellation_details")
    return (
        details if group is None else details | {name: group.text(name) for name in ("comment", "feedback")}
    )


def _set_trial_settings(params: Params, subscription: Resource) -> None:
    settings = params.group("trial_settings")
    behavior = settings.group("end_behavior") if settings else None
    if behavior is not None:
        wanted = behavior.choice("missing_payment_method", "cancel", "create_invoice", "pause")
        subscription["trial_settings"]["end_behavior"]["missing_payment_method"] = wanted


def _set_trial_end(world: World, params: Params, subscription: Resource) -> None:
    end = params.text("trial_end")
    if end is None:
        return
    is_trialing = subscription["status"] == "trialing"
    if end == "now" and not is_trialing:
        return
    moment = world.now() if end == "now" else _future(world, end, "trial_end")
    subscription |= {"trial_end": moment, "status": "trialing", "billing_cycle_anchor": moment}
    subscription["trial_start"] = subscription["trial_start"] or world.now()
    for item in subscription["items"]["data"]:
        item["current_period_end"] = moment


def _future(world: World, text: str, param: str) -> int:
    latest = world.now() + _FURTHEST_SECONDS
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and world.now() < int(text) <= latest):
        raise invalid(
            f"Invalid timestamp: {param} must be an integer Unix timestamp in the next five years.", param
        )
    return int(text)


def _terms(params: Params) -> Terms:
    return Terms(
        proration=params.choice("proration_behavior", *_PRORATIONS) or "create_prorations",
        payment=params.choice("payment_behavior", *_PAYMENTS) or "allow_incomplete",
        at=params.integer("proration_date"),
        restarts_period=_anchor(params) == "now",
    )


def _anchor(params: Params) -> str | None:
    # An object since endive; before it was a plain word.
    if params.is_group("billing_cycle_anchor"):
        group = params.group("billing_cycle_anchor")
        return group.choice("type", "now", "unchanged") if group else None
    return params.choice("billing_cycle_anchor", "now", "unchanged")


def _refuse_mixture(subscription: Resource, terms: Terms) -> None:
    if terms.payment == "pending_if_incomplete" and terms.proration == "none":
        raise invalid(
            "You cannot use `pending_if_incomplete` with `proration_behavior=none`.", "payment_behavior"
        )
    if subscription["pending_update"] is not None:
        raise invalid("This subscription has a pending update; let it be paid or expire first.")


def _has_status(subscription: Resource, status: str | None) -> bool:
    if status is None:
        return bool(subscription["status"] != "canceled")
    if status == "ended":
        return subscription["status"] in standing.TERMINAL
    return status in ("all", subscription["status"])


def _has_price(subscription: Resource, price: str | None) -> bool:
    return price is None or any(item["price"]["id"] == price for item in subscription["items"]["data"])


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/subscriptions", create),
    ("GET", "/v1/subscriptions", list_subscriptions),
    ("GET", "/v1/subscriptions/{name}", retrieve),
    ("POST", "/v1/subscriptions/{name}", update),
    ("DELETE", "/v1/subscriptions/{name}", cancel),
    ("POST", "/v1/subscriptions/{name}/pause", pause),
    ("POST", "/v1/subscriptions/{name}/resume", resume),
)
