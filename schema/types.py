"""The server's own types: accounts, keys, plans, actions, quotas and usage as clients see them."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import strawberry

from api_factory import accounts, actions, keys, usage
from api_factory.billing.model import Episode, Standing
from api_factory.limits import WindowStatus
from api_factory.rates import Rate, parse_rates
from schema.context import Context
from schema.directives import Scope
from schema.examples import Presentation
from schema.scalars import BigInt, Json

Info: TypeAlias = strawberry.Info[Context, None]


@strawberry.interface(description="An object with a globally unique ID.")
class Node:
    """What `node(id:)` can find."""

    id: strawberry.ID


@strawberry.type(description="An amount in the smallest unit of its currency (1999 USD is $19.99).")
class Money:
    """A price."""

    amount: BigInt
    currency: str = strawberry.field(description="ISO 4217 code.")


@strawberry.enum
class BillingInterval(enum.Enum):
    """How often a plan is paid."""

    MONTH = "month"
    YEAR = "year"


@strawberry.type
class RateLimitPolicy:
    """One limit over one window."""

    name: str = strawberry.field(description="The name used in the RateLimit and RateLimit-Policy headers.")
    limit: int = strawberry.field(description="Calls per window.")
    window: int = strawberry.field(description="Seconds.")

    @classmethod
    def of(cls, rate: Rate) -> RateLimitPolicy:
        """Show a rate."""
        return cls(name=rate.name, limit=rate.limit, window=rate.window_seconds)


@strawberry.type(description="State of one window of one rate limit for the calling key.")
class RateLimitWindow:
    """Where one window stands."""

    policy: RateLimitPolicy
    used: int
    remaining: int
    reset_at: datetime = strawberry.field(description="When at least one more call is free.")

    @classmethod
    def of(cls, status: WindowStatus, now: datetime) -> RateLimitWindow:
        """Show a window as it stood at a moment."""
        return cls(
            policy=RateLimitPolicy(name=status.policy, limit=status.limit, window=status.window_seconds),
            used=status.limit - status.remaining,
            remaining=status.remaining,
            reset_at=now + timedelta(seconds=status.reset_seconds),
        )


@strawberry.type(description="State of the rate limits for the calling key; the tightest window comes first.")
class RateLimitStatus:
    """What this operation costs, and where every window stands."""

    policy: RateLimitPolicy = strawberry.field(description="Of the tightest window.")
    cost: BigInt = strawberry.field(description="Most units this operation takes from the quota.")
    used: int = strawberry.field(description="In the tightest window.")
    remaining: int = strawberry.field(description="In the tightest window.")
    reset_at: datetime = strawberry.field(description="Of the tightest window.")
    windows: list[RateLimitWindow] = strawberry.field(description="Every window that holds for the key.")

    @classmethod
    def of(cls, statuses: Sequence[WindowStatus], cost: int, now: datetime) -> RateLimitStatus | None:
        """Show the windows; None when no limit holds."""
        if not statuses:
            return None
        tightest_first = sorted(statuses, key=lambda status: status.remaining / max(1, status.limit))
        windows = [RateLimitWindow.of(status, now) for status in tightest_first]
        tightest = windows[0]
        return cls(
            policy=tightest.policy,
            cost=BigInt(cost),
            used=tightest.used,
            remaining=tightest.remaining,
            reset_at=tightest.reset_at,
            windows=windows,
        )


@strawberry.enum
class BilledUnits(enum.Enum):
    """Which units are billed beside the price of the plan."""

    BEYOND = "beyond"
    ALL = "all"


@strawberry.type
class OveragePrice:
    """What metered units cost."""

    billed_units: BilledUnits = strawberry.field(description="Those beyond the plan's units, or all.")
    price: Money
    per_units: BigInt = strawberry.field(description="How many units the price is for.")

    @classmethod
    def of(cls, plan: accounts.Plan) -> OveragePrice | None:
        """Show what a plan's metered units cost; None when it bills none."""
        if plan.billed_units == "none":
            return None
        return cls(
            billed_units=BilledUnits(plan.billed_units),
            price=Money(amount=BigInt(plan.overage_price_cents), currency=plan.currency.upper()),
            per_units=BigInt(plan.overage_per_units),
        )


@strawberry.type
class Plan(Node):
    """What an account can subscribe to."""

    id: strawberry.ID
    name: str
    description: str | None
    price: Money
    interval: BillingInterval
    units: BigInt | None = strawberry.field(description="Units per period; null is unlimited.")
    rate_limits: list[RateLimitPolicy]
    sold: bool = strawberry.field(description="Whether createCheckoutSession takes it.")
    trial_days: int = strawberry.field(description="Days before the first payment; 0 is no trial.")
    overage_price: OveragePrice | None = strawberry.field(
        description="What metered units cost beside the price; null: none are billed."
    )

    @classmethod
    def of(cls, plan: accounts.Plan) -> Plan:
        """Show a plan."""
        return cls(
            id=strawberry.ID(f"plan_{plan.slug}"),
            name=plan.name,
            description=plan.description or None,
            price=Money(amount=BigInt(plan.price_cents), currency=plan.currency.upper()),
            interval=BillingInterval(plan.billing_interval),
            units=big(plan.quota_units),
            rate_limits=[RateLimitPolicy.of(rate) for rate in parse_rates(plan.rate)] if plan.rate else [],
            sold=plan.is_sold,
            trial_days=plan.trial_days,
            overage_price=OveragePrice.of(plan),
        )


@strawberry.enum
class SubscriptionStatus(enum.Enum):
    """What a subscription means for the keys of the account."""

    PENDING = "pending"
    TRIALING = "trialing"
    ACTIVE = "active"
    GRACE = "grace"
    SUSPENDED = "suspended"


@strawberry.type(description="What the account has bought, as Stripe last said.")
class BillingSubscription:
    """A subscription that has not ended."""

    status: SubscriptionStatus = strawberry.field(
        description="PENDING: the first payment is under way. GRACE: a payment failed, the keys still work. "
        "SUSPENDED: they do not until it is paid."
    )
    plan: Plan | None = strawberry.field(description="Null: its price belongs to no plan here.")
    quantity: int
    current_period_start: datetime | None
    current_period_end: datetime | None
    trial_ends_at: datetime | None
    cancel_at_period_end: bool = strawberry.field(description="Whether a cancellation is under way.")
    ends_at: datetime | None = strawberry.field(description="When the cancellation takes effect.")
    grace_ends_at: datetime | None = strawberry.field(
        description="In GRACE: until when the keys work; null: until Stripe gives up."
    )

    @classmethod
    def of(
        cls, standing: Standing, plan: accounts.Plan | None, episode: Episode | None
    ) -> BillingSubscription:
        """Show a subscription that has not ended."""
        return cls(
            status=SubscriptionStatus(standing.state.value),
            plan=None if plan is None else Plan.of(plan),
            quantity=standing.quantity,
            current_period_start=standing.current_period_start,
            current_period_end=standing.current_period_end,
            trial_ends_at=standing.trial_ends_at,
            cancel_at_period_end=standing.ends_at is not None,
            ends_at=standing.ends_at,
            grace_ends_at=None if episode is None else episode.grace_ends_at,
        )


@strawberry.enum
class ApiKeyStatus(enum.Enum):
    """Whether a key works."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"


@strawberry.type(description="An API key. The secret is shown once, when the key is created or rotated.")
class ApiKey(Node):
    """A key without its secret."""

    id: strawberry.ID
    name: str
    prefix: str = strawberry.field(description="The first characters of the key, to recognise it.")
    hint: str = strawberry.field(description="The last characters of the newest secret.")
    status: ApiKeyStatus
    suspended_reason: str | None
    livemode: bool = strawberry.field(description="False for a test key, which is never billed.")
    scopes: list[Scope] = strawberry.field(description="The scopes it holds, of those this server knows.")
    allowed_actions: list[str] | None = strawberry.field(
        description="Names of the actions the key may call; null is all."
    )
    cidrs: list[str] = strawberry.field(description="Networks it may be used from; empty is all.")
    cap_units: BigInt | None = strawberry.field(
        description="Units per period that this key alone may use; null is the account's quota."
    )
    trusted_documents_only: bool = strawberry.field(
        description="Whether it may send nothing but documents that this server was started with."
    )
    metadata: Json
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: keys.Key, known_scopes: Collection[str]) -> ApiKey:
        """Show a key; a scope of an action that is no longer served is left out."""
        return cls(
            id=strawberry.ID(key.public_id),
            name=key.name,
            prefix=key.prefix,
            hint=key.hint,
            status=ApiKeyStatus(key.status),
            suspended_reason=key.suspended_reason,
            livemode=key.livemode,
            scopes=[Scope(scope) for scope in key.scopes if scope in known_scopes],
            allowed_actions=None if key.allowed_actions is None else list(key.allowed_actions),
            cidrs=list(key.cidrs),
            cap_units=big(key.cap_units),
            trusted_documents_only=key.trusted_documents_only,
            metadata=Json(key.metadata),
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
        )


@strawberry.enum
class ActionKind(enum.Enum):
    """Where the field of an action is."""

    QUERY = "query"
    MUTATION = "mutation"


@strawberry.type(
    description="An action this API offers. Each one is a field of Query or Mutation "
    "with its own arguments and type."
)
class Action(Node):
    """An action of the catalogue."""

    id: strawberry.ID
    name: str = strawberry.field(description="The name that allowedActions, usage and REST use.")
    field: str = strawberry.field(description="The name of its field.")
    kind: ActionKind
    description: str | None
    signature: str = strawberry.field(description="The field as SDL, directives included.")
    cost: int = strawberry.field(description="Units per call.")
    rate_limits: list[RateLimitPolicy]
    scopes: list[Scope]
    deprecation_reason: str | None
    example: str = strawberry.field(description="An operation to copy.")

    @classmethod
    def of(cls, action: actions.Action, presentation: Presentation) -> Action:
        """Show an action; its signature and example were written when the schema was built."""
        return cls(
            id=strawberry.ID(f"act_{action.name}"),
            name=action.name,
            field=action.field_name,
            kind=ActionKind(action.kind),
            description=action.description,
            signature=presentation.signature,
            cost=action.units,
            rate_limits=[RateLimitPolicy.of(rate) for rate in action.rates],
            scopes=[] if action.public else [Scope(action.scope)],
            deprecation_reason=action.deprecation_reason,
            example=presentation.example,
        )


@strawberry.type(description="Units of the current period, for keys of the calling key's mode.")
class Quota:
    """Where the account stands."""

    included: BigInt | None = strawberry.field(description="Null is unlimited.")
    used: BigInt
    reserved: BigInt = strawberry.field(description="Held by calls that are running.")
    remaining: BigInt | None = strawberry.field(description="Null is unlimited.")
    period_start: datetime
    period_end: datetime

    @classmethod
    def of(cls, standing: usage.QuotaStanding) -> Quota:
        """Show a standing."""
        return cls(
            included=big(standing.included),
            used=BigInt(standing.used),
            reserved=BigInt(standing.reserved),
            remaining=big(standing.remaining),
            period_start=standing.period_start,
            period_end=standing.period_end,
        )


@strawberry.type(description="The account behind the calling key.")
class Viewer(Node):
    """Who calls."""

    id: strawberry.ID
    name: str
    email: str
    created_at: datetime

    @strawberry.field(description="The calling key.")
    async def api_key(self, info: Info) -> ApiKey:
        """Return the calling key."""
        engine, payer = info.context.engine, info.context.admission.payer
        key = await engine.keys.find(payer.key_id, account_id=payer.account_id)
        return ApiKey.of(key, engine.catalogue.scopes)

    @strawberry.field
    async def plan(self, info: Info) -> Plan:
        """Return the plan of the account."""
        engine, payer = info.context.engine, info.context.admission.payer
        account = await engine.accounts.get(payer.account_id)
        return Plan.of(await engine.plans.find(account.plan_slug))

    @strawberry.field(description="What the account has bought; null: nothing, or it has ended.")
    async def subscription(self, info: Info) -> BillingSubscription | None:
        """Return the subscription that the account's plan follows, or one that is not granted yet."""
        engine, payer = info.context.engine, info.context.admission.payer
        standing = await engine.billing.billing.live_subscription(payer.account_id)
        if standing is None:
            return None
        episode = await engine.billing.billing.open_episode(payer.account_id, standing.id)
        plan = None if standing.plan is None else await engine.plans.find(standing.plan)
        return BillingSubscription.of(standing, plan, episode)

    @strawberry.field
    async def quota(self, info: Info) -> Quota:
        """Return where the account stands."""
        engine, payer = info.context.engine, info.context.admission.payer
        return Quota.of(await engine.usage.standing(payer.account_id, livemode=payer.livemode))

    @classmethod
    def of(cls, account: accounts.Account) -> Viewer:
        """Show an account."""
        return cls(
            id=strawberry.ID(account.public_id),
            name=account.name,
            email=account.email,
            created_at=account.created_at,
        )


@strawberry.enum
class UsageGranularity(enum.Enum):
    """How long a bucket is."""

    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"


@strawberry.type
class UsageBucket:
    """One action within one stretch of time."""

    start: datetime
    action: str | None
    calls: BigInt
    errors: BigInt
    units: BigInt


@strawberry.type
class UsageReport:
    """Sums, and the buckets they are the sums of."""

    calls: BigInt
    errors: BigInt
    units: BigInt
    buckets: list[UsageBucket]

    @classmethod
    def of(cls, report: usage.UsageReport) -> UsageReport:
        """Show a report."""
        return cls(
            calls=BigInt(report.calls),
            errors=BigInt(report.errors),
            units=BigInt(report.units),
            buckets=[
                UsageBucket(
                    start=bucket.start,
                    action=bucket.action,
                    calls=BigInt(bucket.calls),
                    errors=BigInt(bucket.errors),
                    units=BigInt(bucket.units),
                )
                for bucket in report.buckets
            ],
        )


def big(count: int | None) -> BigInt | None:
    """Return a count that may be missing, as a 64-bit number."""
    return None if count is None else BigInt(count)
