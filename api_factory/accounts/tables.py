"""The tables of accounts and plans."""

from __future__ import annotations

from piccolo.columns import (
    UUID,
    Array,
    BigInt,
    ForeignKey,
    Integer,
    SmallInt,
    Text,
    Timestamptz,
    Varchar,
)
from piccolo.columns.base import OnDelete
from piccolo.constraints import Check
from piccolo.table import Table

from api_factory.columns import UUID7


class Plan(Table, tablename="plan"):
    """What an account may use, and its price."""

    slug = Varchar(length=63, primary_key=True)
    name = Varchar(length=200)
    description = Text(default="")
    price_cents = BigInt(default=0)
    currency = Varchar(length=3, default="usd")
    billing_interval = Varchar(length=5, default="month")
    stripe_lookup_key = Varchar(length=200, null=True, default=None)
    quota_units = BigInt(null=True, default=None, help_text="Units a period; null is unlimited.")
    test_quota_units = BigInt(default=1000, help_text="Units a period for test keys.")
    rate = Varchar(length=200, default="", help_text="Rate limits in the grammar of `limits`.")
    scopes = Array(
        base_column=Varchar(length=63), null=True, default=None, help_text="Null allows every scope."
    )
    overage = Varchar(length=4, default="hard")
    billed_units = Varchar(length=6, default="none", help_text="Which units a Stripe meter is told of.")
    overage_lookup_key = Varchar(length=200, null=True, default=None)
    overage_price_cents = BigInt(default=0, help_text="For `overage_per_units` units.")
    overage_per_units = BigInt(default=1)
    trial_days = Integer(default=0)
    trial_quota_units = BigInt(null=True, default=None, help_text="Units a period of a trial.")
    quantity_rule = Varchar(length=8, default="ignore")
    key_limit = Integer(default=50, help_text="Keys an account may have that are not revoked.")
    sort_order = Integer(default=0)
    archived_at = Timestamptz(null=True, default=None)
    epoch = BigInt(default=0)

    plan_price_not_negative = Check("price_cents >= 0")
    plan_quota_not_negative = Check("quota_units >= 0")
    plan_overage_known = Check("overage IN ('hard', 'soft')")
    plan_interval_known = Check("billing_interval IN ('month', 'year')")
    plan_billed_units_known = Check("billed_units IN ('none', 'beyond', 'all')")
    plan_quantity_rule_known = Check("quantity_rule IN ('ignore', 'multiply')")


class Account(Table, tablename="account"):
    """A customer: owner of keys, subject of quotas."""

    id = UUID(primary_key=True, default=UUID7())
    email = Varchar(length=320, unique=True)
    name = Varchar(length=200, default="")
    plan = ForeignKey(references=Plan, on_delete=OnDelete.restrict, null=False)
    status = Varchar(length=9, default="ACTIVE")
    suspended_reason = Varchar(length=500, null=True, default=None)
    quota_units = BigInt(null=True, default=None, help_text="Override of the plan's quota.")
    rate = Varchar(length=200, null=True, default=None, help_text="Override of the plan's rate limits.")
    override_reason = Varchar(length=500, null=True, default=None)
    stripe_customer_id = Varchar(length=255, null=True, default=None, unique=True)
    granted_units = BigInt(
        null=True, default=None, help_text="Units a period that billing grants instead of the plan's quota."
    )
    billing_hold = Varchar(
        length=500,
        null=True,
        default=None,
        help_text="Why billing keeps the keys from working; null: it does not.",
    )
    billing_hold_url = Text(null=True, default=None, help_text="Where the buyer pays to end the hold.")
    period_anchor = Timestamptz(help_text="The moment that monthly periods are counted from.")
    created_at = Timestamptz()
    epoch = BigInt(default=0, index=True)

    account_status_is_one_of_three = Check("status IN ('ACTIVE', 'SUSPENDED', 'UNPAID')")
    account_hold_withholds = Check("(billing_hold IS NULL) = (status = 'ACTIVE') OR status = 'SUSPENDED'")
    account_quota_not_negative = Check("quota_units >= 0")
    account_granted_not_negative = Check("granted_units >= 0")


class ChangeEpoch(Table, tablename="change_epoch"):
    """The one row that numbers the control plane's commits."""

    id = SmallInt(primary_key=True, default=1)
    epoch = BigInt(default=0)

    change_epoch_is_one_row = Check("id = 1")
