"""What the slice speaks of: a plan, an account, and how a plans file changed the plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

BillingInterval = Literal["month", "year"]
Overage = Literal["hard", "soft"]
QuantityRule = Literal["ignore", "multiply"]
BilledUnits = Literal["none", "beyond", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an account may use, and its price.

    `quota_units` None is unlimited; `rate` is in the grammar of `rates`, empty for no limit; `scopes` None
    allows every scope; with overage `soft` the quota is what the price includes, not a wall, and
    `billed_units` says which units Stripe is told of: those `beyond` the quota of the period, or `all`.
    Amounts are in the smallest unit of `currency`; `overage_price_cents` is for `overage_per_units` units.
    `trial_quota_units` None: a trial has the plan's quota. With `quantity_rule` `multiply` a subscription for
    several has the quota so many times.
    """

    slug: str
    name: str
    description: str = ""
    price_cents: int = 0
    currency: str = "usd"
    billing_interval: BillingInterval = "month"
    stripe_lookup_key: str | None = None
    quota_units: int | None
    test_quota_units: int = 1_000
    rate: str = ""
    scopes: frozenset[str] | None = None
    overage: Overage = "hard"
    billed_units: BilledUnits = "none"
    overage_lookup_key: str | None = None
    overage_price_cents: int = 0
    overage_per_units: int = 1
    trial_days: int = 0
    trial_quota_units: int | None = None
    quantity_rule: QuantityRule = "ignore"
    key_limit: int = 50
    sort_order: int = 0
    archived: bool = False

    @property
    def is_sold(self) -> bool:
        """Tell whether it can be bought through Stripe."""
        return self.stripe_lookup_key is not None and not self.archived

    @property
    def lookup_keys(self) -> tuple[str, ...]:
        """Return the lookup keys of its Stripe prices: that of the plan, then that of units beyond."""
        return tuple(key for key in (self.stripe_lookup_key, self.overage_lookup_key) if key is not None)


@dataclass(frozen=True, slots=True)
class PlanChanges:
    """The slugs that an application of plans created, changed and archived."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    archived: tuple[str, ...]


class AccountStatus(StrEnum):
    """Whether the keys of an account work: `SUSPENDED` by an operator, `UNPAID` held by billing.

    Each ends only what it began; while both stand the account is `SUSPENDED`.
    """

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    UNPAID = "UNPAID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """What billing gives an account: all of it at once, so that a plan never comes without its ceiling.

    `granted_units` None follows the plan's quota; `hold` None lets the keys work; `period_anchor` None
    leaves the periods as they are counted.
    """

    plan_slug: str
    granted_units: int | None = None
    hold: str | None = None
    hold_url: str | None = None
    period_anchor: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account about to be: its e-mail in lower case, its overrides checked."""

    id: UUID
    email: str
    name: str
    plan_slug: str
    quota_units: int | None
    rate: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A customer. `quota_units` and `rate` are overrides of the plan; None follows the plan.

    `granted_units` and the two of `billing_hold` are billing's: see `Entitlement`. Monthly periods are
    counted from `period_anchor`.
    """

    id: UUID
    public_id: str
    email: str
    name: str
    plan_slug: str
    status: AccountStatus
    suspended_reason: str | None
    quota_units: int | None
    rate: str | None
    override_reason: str | None
    stripe_customer_id: str | None
    granted_units: int | None
    billing_hold: str | None
    billing_hold_url: str | None = field(repr=False)
    period_anchor: datetime
    created_at: datetime
    epoch: int
