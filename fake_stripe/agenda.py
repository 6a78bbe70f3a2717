"""What time brings: everything that falls due, in the order of its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fake_stripe import charging, lifecycle, schedules, selling, standing
from fake_stripe.errors import invalid
from fake_stripe.world import DAY_SECONDS, Cause, Resource, World

_TRIAL_NOTICE_SECONDS = 3 * DAY_SECONDS
_FURTHEST_SECONDS = 3_660 * DAY_SECONDS
_MOST_STEPS = 100_000


@dataclass(frozen=True, slots=True)
class Due:
    """Something to do at a moment. Of what falls due together the lower rank goes first."""

    moment: int
    rank: int
    act: Callable[[World, Resource], object]
    resource: Resource


def advance(world: World, seconds: int) -> int:
    """Move the clock on and do what falls due meanwhile, each at its own time; return how much that was.

    Raises a 400 for a time that is past, or further ahead than ten years.
    """
    if seconds < 0:
        raise invalid("The clock is never put back.")
    if seconds > _FURTHEST_SECONDS:
        raise invalid("The clock is moved on by ten years at most.")
    target = world.now() + seconds
    done = catch_up(world, target)
    world.clock.move_to(target)
    return done


def catch_up(world: World, target: int | None = None) -> int:
    """Do what has fallen due up to a moment, now when none is named; return how much that was."""
    earliest = world.now()
    target = earliest if target is None else target
    cause, world.cause = world.cause, Cause()
    try:
        for done in range(_MOST_STEPS):
            due = min(
                (one for one in _agenda(world) if one.moment <= target),
                key=lambda one: (one.moment, one.rank),
                default=None,
            )
            if due is None:
                return done
            world.clock.pin(max(due.moment, earliest))
            due.act(world, due.resource)
        raise RuntimeError(f"more than {_MOST_STEPS} things fell due at once")
    finally:
        world.clock.pin(None)
        world.cause = cause


def _agenda(world: World) -> Iterator[Due]:
    for invoice in world.all("invoice"):
        yield from _of_invoice(invoice)
    for subscription in world.all("subscription"):
        if subscription["status"] not in standing.TERMINAL:
            yield from _of_subscription(subscription)
    for schedule in world.all("subscription_schedule"):
        moment = schedules.next_boundary(schedule)
        if moment is not None:
            yield Due(moment, 4, schedules.enter_next_phase, schedule)
    for session in world.all("checkout.session"):
        if session["status"] == "open":
            yield Due(session["expires_at"], 9, selling.expire, session)


def _of_invoice(invoice: Resource) -> Iterator[Due]:
    if invoice["status"] == "draft" and invoice["auto_advance"] and invoice["automatically_finalizes_at"]:
        yield Due(invoice["automatically_finalizes_at"], 0, _finalize, invoice)
    if invoice["status"] != "open":
        return
    if invoice["next_payment_attempt"] is not None:
        yield Due(invoice["next_payment_attempt"], 1, _try_again, invoice)
    elif "_gives_up_at" in invoice and not invoice.get("_has_given_up"):
        yield Due(invoice["_gives_up_at"], 2, standing.give_up, invoice)
    if invoice["due_date"] is not None and not invoice.get("_is_overdue"):
        yield Due(invoice["due_date"], 2, _overdue, invoice)


def _of_subscription(subscription: Resource) -> Iterator[Due]:
    status, boundary = subscription["status"], subscription["items"]["data"][0]["current_period_end"]
    if status == "incomplete":
        yield Due(subscription["_expires_at"], 2, standing.expire, subscription)
        return
    if subscription["cancel_at"] is not None:
        yield Due(subscription["cancel_at"], 3, lifecycle.end, subscription)
    if subscription["pending_update"] is not None:
        expires_at = subscription["pending_update"]["expires_at"]
        yield Due(expires_at, 2, standing.expire_pending_update, subscription)
    if status == "paused":
        return
    collection = subscription["pause_collection"]
    if collection and collection["resumes_at"] is not None:
        yield Due(collection["resumes_at"], 2, _collect_again, subscription)
    if status == "trialing":
        if not subscription.get("_has_noticed_trial"):
            yield Due(subscription["trial_end"] - _TRIAL_NOTICE_SECONDS, 0, _notice_trial, subscription)
        yield Due(subscription["trial_end"], 5, lifecycle.end_trial, subscription)
        return
    yield Due(boundary, 5, lifecycle.renew, subscription)


def _finalize(world: World, invoice: Resource) -> None:
    lifecycle.finalize_and_charge(world, invoice, is_scheduled=True)


def _try_again(world: World, invoice: Resource) -> None:
    charging.attempt(world, invoice, is_scheduled=True)


def _overdue(world: World, invoice: Resource) -> None:
    invoice |= {"_is_overdue": True, "attempted": True}
    world.emit("invoice.overdue", invoice)
    standing.failed(world, invoice)


def _collect_again(world: World, subscription: Resource) -> None:
    with world.changing(subscription, standing.UPDATED):
        subscription["pause_collection"] = None


def _notice_trial(world: World, subscription: Resource) -> None:
    subscription["_has_noticed_trial"] = True
    world.emit("customer.subscription.trial_will_end", subscription)
