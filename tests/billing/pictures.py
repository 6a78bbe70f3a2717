"""Stripe's objects and our rows, made for the tests of pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from api_factory.accounts import Account, AccountStatus, Plan
from api_factory.billing.model import (
    BillingRules,
    CustomerPicture,
    Episode,
    FetchedCustomer,
    FetchedInvoice,
    FetchedItem,
    FetchedSubscription,
)
from api_factory.billing.projection import Local, Offer, Projection, project

START = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
END = datetime(2026, 4, 10, 9, 0, tzinfo=UTC)
NOW = START + timedelta(days=1)
ACCOUNT = UUID(int=7)
RULES = BillingRules(grace=timedelta(days=7))

FREE = Plan(slug="free", name="Free", quota_units=1_000)
PRO = Plan(slug="pro", name="Pro", quota_units=100_000, stripe_lookup_key="pro", trial_quota_units=500)
SCALE = Plan(
    slug="scale", name="Scale", quota_units=5_000_000, stripe_lookup_key="scale", quantity_rule="multiply"
)
OFFER = Offer(plans=(FREE, PRO, SCALE), plan_of_price={}, fallback="free")


def account(**facts: Any) -> Account:
    return replace(
        Account(
            id=ACCOUNT,
            public_id="acc_test",
            email="buyer@example.com",
            name="",
            plan_slug="free",
            status=AccountStatus.ACTIVE,
            suspended_reason=None,
            quota_units=None,
            rate=None,
            override_reason=None,
            stripe_customer_id="cus_1",
            granted_units=None,
            billing_hold=None,
            billing_hold_url=None,
            period_anchor=START - timedelta(days=100),
            created_at=START - timedelta(days=100),
            epoch=1,
        ),
        **facts,
    )


def item(price: str = "pro", **facts: Any) -> FetchedItem:
    return replace(
        FetchedItem(
            id="si_1",
            price_id=f"price_{price}",
            lookup_key=price,
            plan_metadata=None,
            usage_type="licensed",
            quantity=1,
            period_start=START,
            period_end=END,
        ),
        **facts,
    )


def subscription(status: str = "active", *items: FetchedItem, **facts: Any) -> FetchedSubscription:
    return replace(
        FetchedSubscription(
            id="sub_1",
            customer_id="cus_1",
            livemode=False,
            status=status,
            created_at=START,
            items=items or (item(),),
            currency="usd",
            account_reference=None,
            cycle_anchor=START,
            trial_ends_at=None,
            cancel_at=None,
            cancels_at_period_end=False,
            ended_at=None,
            ended_reason=None,
            paused_reason=None,
            pause_collection=None,
            has_pending_update=False,
            schedule_id=None,
            latest_invoice_id="in_1",
            default_payment_method_id=None,
        ),
        **facts,
    )


def invoice(**facts: Any) -> FetchedInvoice:
    return replace(
        FetchedInvoice(
            id="in_1",
            status="open",
            subscription_id="sub_1",
            billing_reason="subscription_cycle",
            amount_due_cents=2_900,
            currency="usd",
            owed_since=START,
            attempt_count=1,
            next_payment_attempt_at=START + timedelta(days=3),
            hosted_invoice_url="https://invoice.example/in_1",
        ),
        **facts,
    )


def picture(*subscriptions: FetchedSubscription, **facts: Any) -> CustomerPicture:
    customer = FetchedCustomer(
        id="cus_1", is_deleted=False, account_reference=None, default_payment_method_id="pm_1"
    )
    return replace(CustomerPicture(customer=customer, subscriptions=subscriptions), **facts)


def owed(status: str = "past_due", *invoices: FetchedInvoice, **facts: Any) -> CustomerPicture:
    return picture(subscription(status), open_invoices=invoices or (invoice(),), **facts)


def seen(
    *pictures: CustomerPicture,
    local: Local | None = None,
    offer: Offer = OFFER,
    rules: BillingRules = RULES,
    now: datetime = NOW,
) -> tuple[Local, Projection]:
    """Project one picture after the other; return what stands then, and the last projection."""
    local = local or Local(account=account())
    for each in pictures:
        projection = project(each, local, offer, rules, now)
        local = after(local, projection)
    return local, projection


def after(local: Local, projection: Projection) -> Local:
    """Return what stands once a projection is written."""
    holder, given = local.account, projection.entitlement
    if given is not None:
        holder = replace(
            holder,
            plan_slug=given.plan_slug,
            granted_units=given.granted_units,
            billing_hold=given.hold,
            billing_hold_url=given.hold_url,
            period_anchor=given.period_anchor or holder.period_anchor,
        )
    return Local(account=holder, standings=projection.standings, episodes=open_episodes(projection))


def open_episodes(projection: Projection) -> tuple[Episode, ...]:
    return tuple(each for each in projection.episodes if each.closed_at is None)
