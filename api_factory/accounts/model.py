"""What the slice speaks of: a plan, an account, and how a plans file changed the plans."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

BillingInterval = Literal["month", "year"]
Overage = Literal["hard", "soft"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an account may use, and its price.

    `quota_units` None is unlimited; `rate` is in the grammar of `rates`, empty for no limit; `scopes` None
    allows every scope; with overage `soft` the quota is what the price includes, not a wall.
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
    key_limit: int = 50
    sort_order: int = 0
    archived: bool = False


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
