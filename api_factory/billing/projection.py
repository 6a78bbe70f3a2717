"""What Stripe's objects mean here: a pure function from what was fetched to what is to be written.

Nothing in it depends on the order of events, on how often one came, or on which were lost: the same objects
and the same rows give the same result, and a result that is projected again changes nothing. The table of
states is in docs/explanation/billing.md; every line of it is a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from api_factory.accounts import Account, Entitlement, Plan
from api_factory.billing import dunning
from api_factory.billing.model import (
    BillingRules,
    CustomerPicture,
    Episode,
    FetchedItem,
    FetchedSubscription,
    Stage,
    Standing,
    SubscriptionState,
    WantedAttempt,
)
from api_factory.billing.periods import period_anchor

UNKNOWN_PRICE: Final = "unknown_price"
UNKNOWN_STATUS: Final = "unknown_status"
SEVERAL_PLANS: Final = "several_plans"
SEVERAL_LIVE: Final = "several_live_subscriptions"

_STATES: Final[Mapping[str, SubscriptionState]] = {
    "incomplete": SubscriptionState.PENDING,
    "incomplete_expired": SubscriptionState.ENDED,
    "trialing": SubscriptionState.TRIALING,
    "active": SubscriptionState.ACTIVE,
    "past_due": SubscriptionState.GRACE,
    "unpaid": SubscriptionState.SUSPENDED,
    "paused": SubscriptionState.SUSPENDED,
    "canceled": SubscriptionState.ENDED,
}
# Which of several subscriptions an account's plan follows: the best paid for first.
_RANK: Final = ("active", "trialing", "past_due", "paused", "unpaid")
_HOLDS: Final[Mapping[str, str]] = {
    "past_due": "A payment of the subscription failed and its grace is over.",
    "unpaid": "The subscription is unpaid.",
    "paused": "The subscription is paused.",
}
_NO_PLAN: Final = "The subscription has ended."


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The plans there are, archived ones too, and which of them the prices seen so far grant."""

    plans: tuple[Plan, ...]
    plan_of_price: Mapping[str, str]
    fallback: str

    def plan(self, slug: str | None) -> Plan | None:
        """Return the plan of this slug, or None."""
        return next((plan for plan in self.plans if plan.slug == slug), None)

    def granted_by(self, item: FetchedItem) -> Plan | None:
        """Return the plan that an item's price grants, or None when nobody has said.

        By its lookup key; by what it has granted before, as a lookup key moves on to the next price; by
        the plan named in its metadata.
        """
        for plan in self.plans:
            if item.lookup_key is not None and plan.stripe_lookup_key == item.lookup_key:
                return plan
        return self.plan(self.plan_of_price.get(item.price_id)) or self.plan(item.plan_metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What stands here of an account, under its lock: its subscriptions and their open episodes."""

    account: Account
    standings: tuple[Standing, ...] = ()
    episodes: tuple[Episode, ...] = ()

    def standing(self, subscription_id: str) -> Standing | None:
        """Return a subscription as it stands, or None."""
        return next((each for each in self.standings if each.id == subscription_id), None)

    def episode(self, subscription_id: str) -> Episode | None:
        """Return the open episode of a subscription, or None."""
        return next((each for each in self.episodes if each.subscription_id == subscription_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What is to be written: all of it in one transaction.

    `standings` and `episodes` are those of the account as they are to stand, changed or not.
    `entitlement` None leaves the account as it is. `prices` are price ids with the plans that they grant.
    """

    standings: tuple[Standing, ...]
    episodes: tuple[Episode, ...]
    entitlement: Entitlement | None
    attempts: tuple[WantedAttempt, ...] = ()
    prices: Mapping[str, str]

    @property
    def attention(self) -> str | None:
        """Return what a person has to decide, None when nothing."""
        found = sorted({each.attention for each in self.standings if each.attention and each.state.is_live})
        return ", ".join(found) or None


def project(
    picture: CustomerPicture, local: Local, offer: Offer, rules: BillingRules, now: datetime
) -> Projection:
    """Return what a customer's objects mean for the account that he is."""
    standings = {each.id: each for each in local.standings}
    episodes = {each.id: each for each in local.episodes}
    attempts: list[WantedAttempt] = []
    for fetched in picture.subscriptions:
        found, wanted = dunning.follow(
            fetched, local.episode(fetched.id), picture, local.account.id, rules, now
        )
        standing = standing_of(fetched, local.account.id, local.standing(fetched.id), offer)
        standings[fetched.id] = _with_grace(standing, found)
        episodes |= {each.id: each for each in found}
        attempts += wanted
    if picture.customer.is_deleted:
        _end_all(picture.customer.id, standings, episodes, now)
    prices = {
        item.price_id: plan.slug
        for fetched in picture.subscriptions
        for item in _licensed(fetched)
        if (plan := offer.granted_by(item)) is not None
    }
    return entitled(
        replace(local, standings=tuple(standings.values())), tuple(episodes.values()), offer, attempts, prices
    )


def pays_for_plan(picture: CustomerPicture, offer: Offer) -> bool:
    """Tell whether a customer has a subscription that may cost money and whose price is a plan's of ours."""
    return any(
        _STATES.get(each.status) is not SubscriptionState.ENDED
        and any(offer.granted_by(item) is not None for item in each.items)
        for each in picture.subscriptions
    )


def tick(local: Local, offer: Offer, now: datetime) -> Projection:
    """Return what the time alone changes: a grace that has ended suspends."""
    episodes = tuple(dunning.at(each, now) for each in local.episodes)
    standings = tuple(
        _with_grace(each, [episode for episode in episodes if episode.subscription_id == each.id])
        for each in local.standings
    )
    return entitled(replace(local, standings=standings), episodes, offer)


def entitled(
    local: Local,
    episodes: tuple[Episode, ...],
    offer: Offer,
    attempts: Sequence[WantedAttempt] = (),
    prices: Mapping[str, str] | None = None,
) -> Projection:
    """Choose the subscription that the account's plan follows, and say what it gives."""
    had_one = next((each for each in local.standings if each.is_current), None)
    current = _chosen(local.standings)
    several = (
        sum(each.state.grants or each.state is SubscriptionState.SUSPENDED for each in local.standings) > 1
    )
    standings = tuple(
        replace(
            each,
            is_current=current is not None and each.id == current.id,
            attention=_attention(each, several),
        )
        for each in local.standings
    )
    owed = [each for each in episodes if current is not None and each.subscription_id == current.id]
    url = next((each.hosted_invoice_url for each in owed if each.closed_at is None), None)
    entitlement = (
        _given_by(current, local.account, offer, url)
        if current is not None
        else _taken_back(had_one, standings, local.account, offer)
    )
    return Projection(
        standings=standings,
        episodes=episodes,
        entitlement=entitlement,
        attempts=tuple(attempts),
        prices=prices or {},
    )


def standing_of(
    fetched: FetchedSubscription, account_id: UUID, before: Standing | None, offer: Offer
) -> Standing:
    """Return what a subscription means by itself, without grace and beside no other."""
    item, plan, attention = _plan_item(fetched, offer)
    state = _STATES.get(fetched.status)
    if state is None:
        state = before.state if before is not None else SubscriptionState.PENDING
        attention = UNKNOWN_STATUS
    start = item.period_start if item is not None else None
    return Standing(
        id=fetched.id,
        account_id=account_id,
        customer_id=fetched.customer_id,
        livemode=fetched.livemode,
        status=fetched.status,
        state=state,
        reason=fetched.paused_reason or fetched.ended_reason,
        is_current=before is not None and before.is_current,
        plan=None if plan is None else plan.slug,
        item_id=item.id if item is not None else None,
        price_id=item.price_id if item is not None else None,
        quantity=item.quantity if item is not None else 1,
        currency=fetched.currency,
        current_period_start=start,
        current_period_end=item.period_end if item is not None else None,
        period_anchor=None if start is None else period_anchor(fetched.cycle_anchor, start),
        trial_ends_at=fetched.trial_ends_at,
        ends_at=_ends_at(fetched, item),
        is_collection_paused=fetched.pause_collection is not None,
        is_update_pending=fetched.has_pending_update,
        is_change_scheduled=fetched.schedule_id is not None,
        attention=attention,
        latest_invoice_id=fetched.latest_invoice_id,
        created_at=fetched.created_at,
    )


def _plan_item(
    fetched: FetchedSubscription, offer: Offer
) -> tuple[FetchedItem | None, Plan | None, str | None]:
    """Return the one item whose price is a plan's; what is metered or an addition is none."""
    licensed = _licensed(fetched)
    granting = [(item, plan) for item in licensed if (plan := offer.granted_by(item)) is not None]
    if len(granting) == 1:
        return (*granting[0], None)
    first = next(iter(licensed), None)
    return first, None, SEVERAL_PLANS if granting else UNKNOWN_PRICE


def _licensed(fetched: FetchedSubscription) -> list[FetchedItem]:
    return [item for item in fetched.items if item.usage_type != "metered"]


def _ends_at(fetched: FetchedSubscription, item: FetchedItem | None) -> datetime | None:
    """Return when it ends or has ended, in whichever of its ways the cancellation was asked for."""
    if fetched.ended_at is not None:
        return fetched.ended_at
    if fetched.cancel_at is not None:
        return fetched.cancel_at
    return item.period_end if fetched.cancels_at_period_end and item is not None else None


def _with_grace(standing: Standing, episodes: Sequence[Episode]) -> Standing:
    """Let what is past due count for as long as its grace lasts."""
    if standing.status != "past_due":
        return standing
    in_grace = any(each.stage is Stage.GRACE for each in episodes)
    return replace(standing, state=SubscriptionState.GRACE if in_grace else SubscriptionState.SUSPENDED)


def _end_all(
    customer_id: str, standings: dict[str, Standing], episodes: dict[UUID, Episode], now: datetime
) -> None:
    """End what a deleted customer had: Stripe has cancelled it and shows it no more."""
    for each in tuple(standings.values()):
        if each.customer_id == customer_id and each.state.is_live:
            ended = replace(each, status="canceled", state=SubscriptionState.ENDED, reason="customer_deleted")
            standings[each.id] = replace(ended, ends_at=now)
            for episode in tuple(episodes.values()):
                if episode.subscription_id == each.id:
                    episodes[episode.id] = dunning.closed(episode, Stage.ENDED, now)


def _chosen(standings: Sequence[Standing]) -> Standing | None:
    """Return the subscription whose plan counts: with a known plan, the best paid for, the newest."""
    able = [
        each for each in standings if each.state not in (SubscriptionState.PENDING, SubscriptionState.ENDED)
    ]
    return min(able, key=_order, default=None)


def _order(standing: Standing) -> tuple[bool, int, float, str]:
    rank = _RANK.index(standing.status) if standing.status in _RANK else len(_RANK)
    return standing.plan is None, rank, -standing.created_at.timestamp(), standing.id


def _attention(standing: Standing, several: bool) -> str | None:
    """Say what a person has to decide about a subscription that may still cost money."""
    if standing.attention not in (None, SEVERAL_LIVE):
        return standing.attention
    is_one_of_them = standing.state.grants or standing.state is SubscriptionState.SUSPENDED
    return SEVERAL_LIVE if several and is_one_of_them else None


def _given_by(current: Standing, account: Account, offer: Offer, url: str | None) -> Entitlement:
    """Return plan, ceiling, hold and period as one fact. An unknown price leaves plan and ceiling alone."""
    hold = None if current.state.grants else _HOLDS.get(current.status, _HOLDS["unpaid"])
    url = url if hold is not None else None
    plan = offer.plan(current.plan)
    if plan is None:
        return replace(_as_it_is(account), hold=hold, hold_url=url)
    return Entitlement(
        plan_slug=plan.slug,
        granted_units=_granted_units(current, plan),
        hold=hold,
        hold_url=url,
        period_anchor=current.period_anchor,
    )


def _granted_units(current: Standing, plan: Plan) -> int | None:
    """Return the ceiling where it is not the plan's own: a trial's, or that of several."""
    units = plan.quota_units
    if current.state is SubscriptionState.TRIALING and plan.trial_quota_units is not None:
        units = plan.trial_quota_units
    if units is not None and plan.quantity_rule == "multiply":
        units *= max(1, current.quantity)
    return None if units == plan.quota_units else units


def _taken_back(
    had: Standing | None, standings: Sequence[Standing], account: Account, offer: Offer
) -> Entitlement | None:
    """Return what is left when no subscription counts any more: only what billing gave is taken.

    Periods go on being counted from where those of the last subscription were.
    """
    ended = [each for each in standings if each.status == "canceled"]
    last = max(ended, key=lambda each: (each.ends_at or each.created_at, each.id), default=None)
    anchor = None if last is None else last.period_anchor
    if had is None:
        return None if last is None else replace(_as_it_is(account), period_anchor=anchor)
    if account.plan_slug != had.plan and had.plan is not None:
        return Entitlement(plan_slug=account.plan_slug, period_anchor=anchor)
    if offer.plan(offer.fallback) is None:
        return Entitlement(plan_slug=account.plan_slug, hold=_NO_PLAN, period_anchor=anchor)
    return Entitlement(plan_slug=offer.fallback, period_anchor=anchor)


def _as_it_is(account: Account) -> Entitlement:
    return Entitlement(
        plan_slug=account.plan_slug,
        granted_units=account.granted_units,
        hold=account.billing_hold,
        hold_url=account.billing_hold_url,
    )
