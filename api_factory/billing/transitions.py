"""What changed for the owner and his customer, told from the rows before and after, not from events.

Stripe may send several events for one change, or one twice; a change of rows happens once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from api_factory.billing.events import ACTION_REQUIRED
from api_factory.billing.model import CustomerPicture, Episode, Standing, SubscriptionState
from api_factory.billing.projection import Local, Projection
from api_factory.notices import NewNotice

TRIAL_ENDS_SOON: Final = timedelta(days=3)
"""Stripe's own notice, `customer.subscription.trial_will_end`, comes as early."""
_FACTS: Final = ("state", "plan", "quantity", "ends_at", "is_change_scheduled", "is_collection_paused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a projection was made: the id and type of an event, or of the clock; it names transitions."""

    id: str
    kind: str
    object_id: str | None = None


def changed_facts(before: Standing | None, after: Standing) -> tuple[dict[str, object], dict[str, object]]:
    """Return what differs of a subscription as people speak of it, before and after."""
    old = {} if before is None else {name: getattr(before, name) for name in _FACTS}
    new = {name: getattr(after, name) for name in _FACTS}
    names = [name for name in _FACTS if old.get(name) != new[name]]
    return {name: old[name] for name in names if name in old}, {name: new[name] for name in names}


def notices_of(
    before: Local, after: Projection, cause: Cause, picture: CustomerPicture | None, now: datetime
) -> Iterator[NewNotice]:
    """Yield what is to be told, each under a key that names the transition for ever."""
    for episode in after.episodes:
        yield from _payment_failed(before.episode(episode.subscription_id), episode)
    for standing in after.standings:
        was = before.standing(standing.id)
        if standing != was:
            yield from _moved(was, standing, cause)
        yield from _trial_ending(standing, now)
    if cause.kind == ACTION_REQUIRED and picture is not None:
        yield from _action_required(after, cause)


def _payment_failed(was: Episode | None, episode: Episode) -> Iterator[NewNotice]:
    is_same = was is not None and was.id == episode.id
    if episode.closed_at is not None or (
        is_same and was is not None and was.attempt_count == episode.attempt_count
    ):
        return
    yield NewNotice(
        kind="billing.payment_failed",
        dedupe_key=f"payment_failed:{episode.invoice_id}:{episode.attempt_count}",
        account_id=episode.account_id,
        facts={
            "invoice_id": episode.invoice_id,
            "amount_due": episode.amount_due_cents,
            "currency": episode.currency,
            "attempt": episode.attempt_count,
            "next_attempt_at": episode.next_payment_attempt_at,
            "grace_ends_at": episode.grace_ends_at,
            "hosted_invoice_url": episode.hosted_invoice_url,
        },
    )


def _moved(was: Standing | None, standing: Standing, cause: Cause) -> Iterator[NewNotice]:
    was_state = None if was is None else was.state
    facts: dict[str, object] = {
        "subscription_id": standing.id,
        "plan": standing.plan,
        "state": standing.state,
    }
    if standing.state is SubscriptionState.SUSPENDED and was_state is not SubscriptionState.SUSPENDED:
        yield _notice("suspended", standing, cause, facts | {"reason": standing.reason or standing.status})
    elif was_state is SubscriptionState.SUSPENDED and standing.state.grants:
        yield _notice("reinstated", standing, cause, facts)
    elif changed_facts(was, standing)[1] and standing.state is not SubscriptionState.PENDING:
        yield _notice("subscription_changed", standing, cause, facts | {"ends_at": standing.ends_at})


def _trial_ending(standing: Standing, now: datetime) -> Iterator[NewNotice]:
    ends_at = standing.trial_ends_at
    if standing.state is not SubscriptionState.TRIALING or ends_at is None:
        return
    if now <= ends_at <= now + TRIAL_ENDS_SOON:
        yield NewNotice(
            kind="billing.trial_ending",
            dedupe_key=f"trial_ending:{standing.id}:{ends_at.isoformat()}",
            account_id=standing.account_id,
            facts={"subscription_id": standing.id, "plan": standing.plan, "trial_ends_at": ends_at},
        )


def _action_required(after: Projection, cause: Cause) -> Iterator[NewNotice]:
    for standing in after.standings:
        if standing.latest_invoice_id == cause.object_id and standing.status in ("incomplete", "past_due"):
            urls = [each.hosted_invoice_url for each in after.episodes if each.invoice_id == cause.object_id]
            yield NewNotice(
                kind="billing.action_required",
                dedupe_key=f"action_required:{cause.object_id}",
                account_id=standing.account_id,
                facts={
                    "invoice_id": cause.object_id,
                    "subscription_id": standing.id,
                    "hosted_invoice_url": next(iter(urls), None),
                },
            )


def _notice(what: str, standing: Standing, cause: Cause, facts: dict[str, object]) -> NewNotice:
    return NewNotice(
        kind=f"billing.{what}",
        dedupe_key=f"{what}:{standing.id}:{cause.id}",
        account_id=standing.account_id,
        facts=facts,
    )
