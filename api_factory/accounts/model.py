"""What the slice speaks of: a plan, an account, and how a plans file changed the plans."""

from __future__ import annotations

from dataclasses import dataclass
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
    """Whether the keys of an account work."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


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
    """A customer. `quota_units` and `rate` are overrides of the plan; None follows the plan."""

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
    created_at: datetime
    epoch: int
