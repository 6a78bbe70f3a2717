"""Stripe's JSON objects, read into what the slice speaks of.

Fields are those of API version 2026-10-28.endive. Where an older version has them elsewhere (periods on the
subscription, `plan` instead of `price`, `invoice.subscription`), they are found there too: an endpoint may be
pinned to an older version, and an object that is only partly there must not be half read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from api_factory.billing.model import (
    ENTITLING_METADATA,
    FetchedCustomer,
    FetchedInvoice,
    FetchedItem,
    FetchedSubscription,
)

PLAN_METADATA = "api_factory_plan"
Json = Mapping[str, Any]


def moment(seconds: object) -> datetime | None:
    """Return Stripe's seconds since 1970 as a time in UTC; None stays None."""
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else None


def id_of(value: object) -> str | None:
    """Return the id of something that is there as an id or, expanded, as an object."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def customer_of(found: Json) -> FetchedCustomer:
    """Read a customer, deleted ones too. Raises `KeyError` when it has no id."""
    settings = found.get("invoice_settings") or {}
    return FetchedCustomer(
        id=found["id"],
        is_deleted=bool(found.get("deleted")),
        account_reference=(found.get("metadata") or {}).get(ENTITLING_METADATA),
        default_payment_method_id=id_of(settings.get("default_payment_method"))
        or id_of(found.get("default_source")),
    )


def subscription_of(found: Json) -> FetchedSubscription:
    """Read a subscription. Raises `KeyError` or `TypeError` when what makes it one is missing."""
    paused = (found.get("status_details") or {}).get("paused") or {}
    created_at = moment(found["created"])
    if created_at is None:
        raise TypeError("subscription.created")
    return FetchedSubscription(
        id=found["id"],
        customer_id=id_of(found["customer"]) or "",
        livemode=bool(found.get("livemode")),
        status=str(found["status"]),
        created_at=created_at,
        items=tuple(_item_of(item, found) for item in found["items"]["data"]),
        currency=str(found.get("currency") or "usd"),
        account_reference=(found.get("metadata") or {}).get(ENTITLING_METADATA),
        cycle_anchor=moment(found.get("billing_cycle_anchor")),
        trial_ends_at=moment(found.get("trial_end")),
        cancel_at=moment(found.get("cancel_at")),
        cancels_at_period_end=bool(found.get("cancel_at_period_end")),
        ended_at=moment(found.get("ended_at")),
        ended_reason=(found.get("cancellation_details") or {}).get("reason"),
        paused_reason=_paused_reason(paused),
        pause_collection=(found.get("pause_collection") or {}).get("behavior"),
        has_pending_update=bool(found.get("pending_update")),
        schedule_id=id_of(found.get("schedule")),
        latest_invoice_id=id_of(found.get("latest_invoice")),
        default_payment_method_id=id_of(found.get("default_payment_method"))
        or id_of(found.get("default_source")),
    )


def invoice_of(found: Json) -> FetchedInvoice:
    """Read an invoice. Raises `KeyError` or `TypeError` when what makes it one is missing."""
    transitions = found.get("status_transitions") or {}
    owed_since = (
        moment(found.get("due_date")) or moment(transitions.get("finalized_at")) or moment(found["created"])
    )
    if owed_since is None:
        raise TypeError("invoice.created")
    return FetchedInvoice(
        id=found["id"],
        status=str(found["status"]),
        subscription_id=subscription_id_of(found),
        billing_reason=found.get("billing_reason"),
        amount_due_cents=int(found.get("amount_remaining") or found.get("amount_due") or 0),
        currency=str(found.get("currency") or "usd"),
        owed_since=owed_since,
        attempt_count=int(found.get("attempt_count") or 0),
        next_payment_attempt_at=moment(found.get("next_payment_attempt")),
        hosted_invoice_url=found.get("hosted_invoice_url"),
        decline_code=_decline_code(found),
    )


def subscription_id_of(found: Json) -> str | None:
    """Return the subscription that an object is, belongs to, or was made by."""
    if found.get("object") == "subscription":
        return id_of(found)
    parent = (found.get("parent") or {}).get("subscription_details") or {}
    return id_of(parent.get("subscription")) or id_of(found.get("subscription"))


def customer_id_of(found: Json) -> str | None:
    """Return the customer that an object is or belongs to."""
    return id_of(found) if found.get("object") == "customer" else id_of(found.get("customer"))


def _item_of(item: Json, subscription: Json) -> FetchedItem:
    price = item.get("price") or item["plan"]
    recurring = price.get("recurring") or {}
    return FetchedItem(
        id=item["id"],
        price_id=price["id"],
        lookup_key=price.get("lookup_key"),
        plan_metadata=(price.get("metadata") or {}).get(PLAN_METADATA),
        usage_type=str(recurring.get("usage_type") or price.get("usage_type") or "licensed"),
        quantity=int(item.get("quantity") or 1),
        period_start=moment(item.get("current_period_start") or subscription.get("current_period_start")),
        period_end=moment(item.get("current_period_end") or subscription.get("current_period_end")),
    )


def _paused_reason(paused: Json) -> str | None:
    reason = (paused.get("subscription") or {}).get("type") or paused.get("type")
    return reason if isinstance(reason, str) else None


def _decline_code(invoice: Json) -> str | None:
    """Return the newest refusal of the invoice's payments, where they were fetched with it."""
    for payment in (invoice.get("payments") or {}).get("data") or ():
        intent = (payment.get("payment") or {}).get("payment_intent")
        error = (intent.get("last_payment_error") or {}) if isinstance(intent, Mapping) else {}
        code = error.get("decline_code") or error.get("code")
        if isinstance(code, str):
            return code
    return None
