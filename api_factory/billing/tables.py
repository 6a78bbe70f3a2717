"""The tables of billing: what Stripe told, what a subscription is, what is owed, and what was compared."""

from __future__ import annotations

from piccolo.columns import (
    JSONB,
    UUID,
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
    Varchar,
)
from piccolo.columns.base import OnDelete
from piccolo.constraints import Check
from piccolo.table import Table

from api_factory.accounts.tables import Account, Plan
from api_factory.columns import UUID7


class StripeEvent(Table, tablename="stripe_event"):
    """The inbox: each event of Stripe once, whoever brought it, and how far the work on it is."""

    seq = BigSerial(primary_key=True)
    event_id = Varchar(length=255, unique=True)
    type = Varchar(length=100)
    livemode = Boolean(default=False)
    api_version = Varchar(length=100, null=True, default=None)
    line = Varchar(
        length=255, help_text="Worked off in order: the customer's id or, without one, the object's."
    )
    customer_id = Varchar(length=255, null=True, default=None)
    subscription_id = Varchar(length=255, null=True, default=None)
    object_id = Varchar(length=255, null=True, default=None)
    source = Varchar(length=9, help_text="webhook, reconcile or refresh.")
    body = Bytea(help_text="What was received, to the byte.")
    created_at = Timestamptz(help_text="Stripe's own time, of one second's resolution.")
    received_at = Timestamptz()
    delivery_count = Integer(default=1)
    state = Varchar(length=15, default="pending")
    attempts = Integer(default=0)
    next_attempt_at = Timestamptz()
    lease = UUID(null=True, default=None)
    locked_until = Timestamptz(null=True, default=None)
    last_error = Text(null=True, default=None)
    finished_at = Timestamptz(null=True, default=None)

    stripe_event_state_known = Check(
        "state IN ('pending', 'processing', 'done', 'skipped', 'needs_attention', 'dead')"
    )
    stripe_event_is_leased = Check(
        "(state = 'processing') = (lease IS NOT NULL AND locked_until IS NOT NULL)"
    )


class StripePrice(Table, tablename="stripe_price"):
    """Which plan a price has granted: a price that has lost its lookup key goes on granting it."""

    id = Varchar(length=255, primary_key=True)
    plan = ForeignKey(references=Plan, on_delete=OnDelete.restrict, null=False)
    lookup_key = Varchar(length=200, null=True, default=None)
    first_seen_at = Timestamptz()


class Subscription(Table, tablename="subscription"):
    """A subscription of Stripe as it was last fetched, and what it means here."""

    id = Varchar(length=255, primary_key=True)
    account = ForeignKey(references=Account, on_delete=OnDelete.restrict, null=False)
    customer_id = Varchar(length=255, index=True)
    livemode = Boolean(default=False)
    status = Varchar(length=40, help_text="Stripe's own word.")
    state = Varchar(length=9, help_text="pending, trialing, active, grace, suspended or ended.")
    reason = Varchar(length=100, null=True, default=None, help_text="Why it is suspended or has ended.")
    is_current = Boolean(default=False, help_text="The one that the account's plan follows.")
    plan = ForeignKey(references=Plan, on_delete=OnDelete.restrict, null=True, default=None)
    item_id = Varchar(length=255, null=True, default=None)
    price_id = Varchar(length=255, null=True, default=None)
    quantity = Integer(default=1)
    currency = Varchar(length=3, default="usd")
    current_period_start = Timestamptz(null=True, default=None)
    current_period_end = Timestamptz(null=True, default=None)
    period_anchor = Timestamptz(null=True, default=None, help_text="What its periods are counted from.")
    trial_ends_at = Timestamptz(null=True, default=None)
    ends_at = Timestamptz(null=True, default=None, help_text="When a cancellation takes effect.")
    is_collection_paused = Boolean(default=False)
    is_update_pending = Boolean(default=False, help_text="An upgrade waits for its payment.")
    is_change_scheduled = Boolean(default=False, help_text="A schedule changes it at a period's end.")
    attention = Varchar(length=100, null=True, default=None, help_text="What a person has to decide.")
    latest_invoice_id = Varchar(length=255, null=True, default=None)
    created_at = Timestamptz(help_text="Stripe's own time.")
    written_at = Timestamptz(help_text="When it was last projected, changed or not.")

    subscription_state_known = Check(
        "state IN ('pending', 'trialing', 'active', 'grace', 'suspended', 'ended')"
    )


class DunningEpisode(Table, tablename="dunning_episode"):
    """A stretch of time for which a subscription is owed for: one grace, from its first failure."""

    id = UUID(primary_key=True, default=UUID7())
    subscription = ForeignKey(references=Subscription, on_delete=OnDelete.cascade, null=False)
    account = ForeignKey(references=Account, on_delete=OnDelete.restrict, null=False)
    stage = Varchar(length=9, default="grace")
    opened_at = Timestamptz(help_text="The first failure of the episode; never moved.")
    grace_ends_at = Timestamptz(null=True, default=None, help_text="Null: until Stripe gives up.")
    suspended_at = Timestamptz(null=True, default=None)
    closed_at = Timestamptz(null=True, default=None)
    invoice_id = Varchar(length=255)
    invoice_status = Varchar(length=20)
    amount_due_cents = BigInt(help_text="In the currency's smallest unit.")
    currency = Varchar(length=3)
    attempt_count = Integer(default=0, help_text="Attempts that Stripe has made.")
    next_payment_attempt_at = Timestamptz(null=True, default=None, help_text="Stripe's own next attempt.")
    hosted_invoice_url = Text(null=True, default=None)
    failed_payment_method_id = Varchar(
        length=255, null=True, default=None, help_text="What was on file when the episode began."
    )

    dunning_stage_known = Check("stage IN ('grace', 'suspended', 'recovered', 'ended')")
    dunning_closed_has_time = Check("(stage IN ('recovered', 'ended')) = (closed_at IS NOT NULL)")


class DunningAttempt(Table, tablename="dunning_attempt"):
    """One payment of an open invoice that this server asks Stripe for."""

    id = UUID(primary_key=True, default=UUID7())
    episode = ForeignKey(references=DunningEpisode, on_delete=OnDelete.cascade, null=False)
    idempotency_key = Varchar(length=255, unique=True)
    cause = Varchar(length=14, help_text="payment_method or schedule.")
    invoice_id = Varchar(length=255)
    payment_method_id = Varchar(length=255, null=True, default=None)
    state = Varchar(length=8, default="pending")
    decline_code = Varchar(length=100, null=True, default=None)
    due_at = Timestamptz()
    tries = Integer(default=0, help_text="Requests sent with this idempotency key.")
    lease = UUID(null=True, default=None)
    locked_until = Timestamptz(null=True, default=None)
    last_error = Text(null=True, default=None)
    ended_at = Timestamptz(null=True, default=None)

    dunning_attempt_state_known = Check("state IN ('pending', 'paid', 'declined', 'skipped', 'failed')")
    dunning_attempt_cause_known = Check("cause IN ('payment_method', 'schedule')")


class ReconcileRun(Table, tablename="reconcile_run"):
    """One comparison with Stripe: of the events that it has, or of all subscriptions."""

    id = UUID(primary_key=True, default=UUID7())
    kind = Varchar(length=13, help_text="events or subscriptions.")
    started_at = Timestamptz()
    ended_at = Timestamptz(null=True, default=None)
    is_applied = Boolean(default=False)
    checked = Integer(default=0)
    found = Integer(default=0, help_text="Events that were missing, or differences.")
    watermark = Timestamptz(null=True, default=None, help_text="All events up to here are in the inbox.")
    error = Text(null=True, default=None)

    reconcile_kind_known = Check("kind IN ('events', 'subscriptions')")


class ReconcileDifference(Table, tablename="reconcile_difference"):
    """One thing in which Stripe and this server were found to differ."""

    id = BigSerial(primary_key=True)
    run = ForeignKey(references=ReconcileRun, on_delete=OnDelete.cascade, null=False)
    kind = Varchar(length=30)
    subscription_id = Varchar(length=255, null=True, default=None)
    customer_id = Varchar(length=255, null=True, default=None)
    account_id = UUID(null=True, default=None)
    here = JSONB(null=True, default=None)
    there = JSONB(null=True, default=None)
