"""The table of states, cell by cell: what a subscription of Stripe means for plan, quota, keys and period."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from api_factory.accounts import Entitlement, Plan
from api_factory.billing.model import BillingRules, FetchedSubscription, SubscriptionState
from api_factory.billing.projection import Local, Offer, project, tick
from tests.billing.pictures import (
    END,
    FREE,
    NOW,
    OFFER,
    PRO,
    RULES,
    SCALE,
    START,
    account,
    after,
    invoice,
    item,
    owed,
    picture,
    seen,
    subscription,
)

PAID = Entitlement(plan_slug="pro", period_anchor=START)
URL = "https://invoice.example/in_1"


@pytest.mark.parametrize(
    ("status", "state", "is_current"),
    [
        ("incomplete", "pending", False),
        ("incomplete_expired", "ended", False),
        ("trialing", "trialing", True),
        ("active", "active", True),
        ("past_due", "grace", True),
        ("unpaid", "suspended", True),
        ("paused", "suspended", True),
        ("canceled", "ended", False),
    ],
)
def test_every_status_has_one_state(status: str, state: str, is_current: bool) -> None:
    local, _ = seen(owed(status))
    (standing,) = local.standings
    assert (standing.status, standing.state, standing.is_current) == (status, state, is_current)


def test_an_active_subscription_gives_its_plan_its_ceiling_and_its_period() -> None:
    local, projection = seen(picture(subscription("active")))
    assert projection.entitlement == PAID
    assert (local.account.plan_slug, local.account.period_anchor) == ("pro", START)


def test_a_first_payment_under_way_gives_nothing_yet() -> None:
    _, projection = seen(picture(subscription("incomplete")))
    assert projection.entitlement is None


def test_a_first_payment_that_never_came_takes_nothing() -> None:
    _, projection = seen(picture(subscription("incomplete")), picture(subscription("incomplete_expired")))
    assert projection.entitlement is None


def test_a_trial_gives_the_plan_with_the_quota_of_a_trial() -> None:
    trial_end = START + timedelta(days=14)
    fetched = subscription("trialing", trial_ends_at=trial_end, cycle_anchor=trial_end)
    _, projection = seen(picture(fetched))
    assert projection.entitlement == Entitlement(plan_slug="pro", granted_units=500, period_anchor=START)


def test_the_end_of_a_trial_gives_the_whole_quota_in_a_period_of_its_own() -> None:
    trial_end = START + timedelta(days=14)
    trial = subscription("trialing", trial_ends_at=trial_end, cycle_anchor=trial_end)
    paid = subscription(
        "active", item(period_start=trial_end), trial_ends_at=trial_end, cycle_anchor=trial_end
    )
    _, projection = seen(picture(trial), picture(paid))
    assert projection.entitlement == Entitlement(plan_slug="pro", period_anchor=trial_end)


def test_past_due_keeps_everything_within_its_grace() -> None:
    local, projection = seen(picture(subscription()), owed())
    assert projection.entitlement == PAID
    (episode,) = local.episodes
    assert (episode.opened_at, episode.grace_ends_at) == (START, START + timedelta(days=7))


def test_past_due_is_held_once_its_grace_is_over_with_a_page_to_pay_on() -> None:
    _, projection = seen(owed(), now=START + timedelta(days=7))
    assert projection.entitlement == Entitlement(
        plan_slug="pro",
        hold="A payment of the subscription failed and its grace is over.",
        hold_url=URL,
        period_anchor=START,
    )


def test_the_clock_alone_suspends() -> None:
    local, _ = seen(picture(subscription()), owed())
    early = tick(local, OFFER, START + timedelta(days=7, seconds=-1))
    due = tick(local, OFFER, START + timedelta(days=7))
    assert early.entitlement == PAID
    assert due.entitlement is not None
    assert due.entitlement.hold == "A payment of the subscription failed and its grace is over."
    assert [each.state for each in due.standings] == [SubscriptionState.SUSPENDED]


def test_a_plan_change_does_not_move_the_anchor_of_the_grace() -> None:
    upgraded = subscription("past_due", item("scale"))
    later = picture(upgraded, open_invoices=(invoice(attempt_count=2),))
    local, _ = seen(owed(), later, now=NOW)
    (episode,) = local.episodes
    assert (episode.opened_at, episode.attempt_count) == (START, 2)


def test_a_second_unpaid_invoice_does_not_move_the_anchor() -> None:
    second = invoice(id="in_2", owed_since=END)
    local, _ = seen(owed(), owed("past_due", invoice(), second), now=NOW)
    (episode,) = local.episodes
    assert (episode.invoice_id, episode.opened_at) == ("in_1", START)


def test_what_was_settled_unseen_and_failed_again_is_another_episode() -> None:
    local, projection = seen(owed(), owed("past_due", invoice(id="in_2", owed_since=END)), now=END)
    assert [(each.invoice_id, each.stage) for each in projection.episodes] == [
        ("in_1", "recovered"),
        ("in_2", "grace"),
    ]
    (episode,) = local.episodes
    assert episode.opened_at == END


def test_no_grace_suspends_at_once() -> None:
    _, projection = seen(owed(), rules=BillingRules(grace=timedelta(0)))
    assert projection.entitlement is not None
    assert projection.entitlement.hold is not None


def test_grace_until_stripe_gives_up_ends_with_unpaid() -> None:
    rules = BillingRules(grace=None)
    local, projection = seen(owed(), rules=rules, now=START + timedelta(days=300))
    assert projection.entitlement == PAID
    _, projection = seen(owed("unpaid"), local=local, rules=rules, now=START + timedelta(days=300))
    assert projection.entitlement is not None
    assert projection.entitlement.hold == "The subscription is unpaid."


def test_past_due_without_an_invoice_to_see_is_counted_from_its_period() -> None:
    local, _ = seen(picture(subscription("past_due")))
    (episode,) = local.episodes
    assert (episode.opened_at, episode.grace_ends_at) == (START, START + timedelta(days=7))


def test_unpaid_is_held_within_what_would_be_its_grace() -> None:
    local, projection = seen(owed(), owed("unpaid"))
    assert projection.entitlement is not None
    assert (projection.entitlement.hold, projection.entitlement.hold_url) == (
        "The subscription is unpaid.",
        URL,
    )
    assert [each.stage for each in local.episodes] == ["suspended"]


@pytest.mark.parametrize(
    "reason", ["pause_requested", "trial_end_without_payment_method", "first_payment_failure"]
)
def test_paused_is_held_and_says_why(reason: str) -> None:
    local, projection = seen(picture(subscription("paused", paused_reason=reason)))
    assert projection.entitlement is not None
    assert projection.entitlement.hold == "The subscription is paused."
    assert local.standings[0].reason == reason


def test_a_payment_lifts_the_hold_and_closes_the_episode() -> None:
    local, _ = seen(owed("unpaid"))
    local, projection = seen(picture(subscription("active")), local=local)
    assert projection.entitlement == PAID
    assert [each.stage for each in projection.episodes] == ["recovered"]
    assert local.episodes == ()


def test_a_resumed_subscription_lifts_the_hold() -> None:
    _, projection = seen(picture(subscription("paused")), picture(subscription("active")))
    assert projection.entitlement == PAID


def test_the_end_falls_back_to_the_free_plan_and_lifts_the_hold() -> None:
    _, projection = seen(owed("unpaid"), picture(subscription("canceled", ended_at=NOW)))
    assert projection.entitlement == Entitlement(plan_slug="free", period_anchor=START)
    assert [each.stage for each in projection.episodes] == ["ended"]


def test_without_a_plan_to_fall_back_to_the_end_holds_the_keys() -> None:
    offer = replace(OFFER, fallback="nothing")
    _, projection = seen(picture(subscription()), picture(subscription("canceled")), offer=offer)
    assert projection.entitlement == Entitlement(
        plan_slug="pro", hold="The subscription has ended.", period_anchor=START
    )


def test_the_end_takes_only_what_billing_gave() -> None:
    local, _ = seen(picture(subscription()))
    given_by_hand = replace(local, account=replace(local.account, plan_slug="scale"))
    _, projection = seen(picture(subscription("canceled")), local=given_by_hand)
    assert projection.entitlement == Entitlement(plan_slug="scale", period_anchor=START)


def test_an_end_that_was_projected_leaves_the_account_alone_from_then_on() -> None:
    ended, _ = seen(picture(subscription()), picture(subscription("canceled")))
    given = replace(ended, account=replace(ended.account, plan_slug="scale"))
    later, _ = seen(picture(subscription("canceled")), local=given)
    assert later.account == given.account


@pytest.mark.parametrize(
    ("facts", "ends_at"),
    [
        ({"cancel_at": END}, END),
        ({"cancels_at_period_end": True}, END),
        ({"cancel_at": START + timedelta(days=3), "cancels_at_period_end": True}, START + timedelta(days=3)),
        ({}, None),
    ],
)
def test_a_cancellation_is_seen_in_both_forms_and_keeps_access_until_then(
    facts: dict[str, object], ends_at: datetime | None
) -> None:
    local, projection = seen(picture(subscription("active", **facts)))
    assert (local.standings[0].ends_at, projection.entitlement) == (ends_at, PAID)


def test_an_undone_cancellation_has_no_end_any_more() -> None:
    local, _ = seen(picture(subscription(cancel_at=END)), picture(subscription()))
    assert local.standings[0].ends_at is None


def test_an_upgrade_raises_the_ceiling_now_and_keeps_the_period() -> None:
    _, projection = seen(picture(subscription()), picture(subscription("active", item("scale"))))
    assert projection.entitlement == Entitlement(plan_slug="scale", period_anchor=START)


def test_an_upgrade_that_waits_for_its_payment_gives_nothing_yet() -> None:
    local, projection = seen(picture(subscription(has_pending_update=True)))
    assert (projection.entitlement, local.standings[0].is_update_pending) == (PAID, True)


def test_a_downgrade_at_the_periods_end_takes_nothing_before_it() -> None:
    before = subscription("active", item("scale"), schedule_id="sub_sched_1")
    later = subscription("active", item("pro", period_start=END), cycle_anchor=START)
    local, projection = seen(picture(before))
    assert projection.entitlement == Entitlement(plan_slug="scale", period_anchor=START)
    assert local.standings[0].is_change_scheduled
    _, projection = seen(picture(later), local=local)
    assert projection.entitlement == PAID


def test_a_renewal_begins_a_period_without_moving_what_it_is_counted_from() -> None:
    local, projection = seen(picture(subscription("active", item(period_start=END))))
    assert projection.entitlement == PAID
    assert local.standings[0].current_period_start == END


def test_the_periods_of_the_31st_are_stripes_in_short_months_too() -> None:
    anchor, february = datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)
    fetched = subscription("active", item(period_start=february), cycle_anchor=anchor)
    _, projection = seen(picture(fetched))
    assert projection.entitlement == Entitlement(plan_slug="pro", period_anchor=anchor)


def test_a_quantity_multiplies_only_where_the_plan_says_so() -> None:
    _, of_pro = seen(picture(subscription("active", item("pro", quantity=3))))
    local, of_scale = seen(picture(subscription("active", item("scale", quantity=3))))
    assert of_pro.entitlement == PAID
    assert of_scale.entitlement == Entitlement(
        plan_slug="scale", granted_units=15_000_000, period_anchor=START
    )
    assert local.standings[0].quantity == 3


def test_a_paused_collection_is_shown_and_the_service_goes_on() -> None:
    local, projection = seen(picture(subscription(pause_collection="keep_as_draft")))
    assert (projection.entitlement, local.standings[0].is_collection_paused) == (PAID, True)


def test_an_unknown_price_neither_grants_nor_takes() -> None:
    new, projection = seen(picture(subscription("active", item("who_knows"))))
    assert (new.account.plan_slug, projection.attention) == ("free", "unknown_price")
    paying, projection = seen(picture(subscription()), picture(subscription("active", item("who_knows"))))
    assert (paying.account.plan_slug, projection.attention) == ("pro", "unknown_price")


def test_a_price_that_lost_its_lookup_key_goes_on_granting_its_plan() -> None:
    _, first = seen(picture(subscription()))
    assert first.prices == {"price_pro": "pro"}
    offer = replace(OFFER, plan_of_price=first.prices)
    _, projection = seen(picture(subscription("active", item(lookup_key=None))), offer=offer)
    assert projection.entitlement == PAID


def test_a_price_can_name_its_plan_in_its_metadata() -> None:
    _, projection = seen(picture(subscription("active", item("odd", plan_metadata="pro"))))
    assert projection.entitlement == PAID


def test_an_archived_plan_is_still_given_to_who_pays_for_it() -> None:
    offer = Offer(plans=(FREE, replace(PRO, archived=True)), plan_of_price={}, fallback="free")
    _, projection = seen(picture(subscription()), offer=offer)
    assert projection.entitlement == PAID


def test_metered_items_and_additions_are_no_plan() -> None:
    metered = item("pro", id="si_2", price_id="price_units", usage_type="metered")
    addition = item("support", id="si_3")
    _, projection = seen(picture(subscription("active", metered, addition, item())))
    assert (projection.entitlement, projection.attention) == (PAID, None)


def test_two_plans_in_one_subscription_are_for_a_person_to_decide() -> None:
    local, projection = seen(picture(subscription("active", item(), item("scale", id="si_2"))))
    assert (local.account.plan_slug, projection.attention) == ("free", "several_plans")


def test_an_unknown_status_changes_nothing_and_asks_for_a_person() -> None:
    local, _ = seen(picture(subscription()))
    later, projection = seen(picture(subscription("hibernating")), local=local)
    assert projection.attention == "unknown_status"
    assert later.account == local.account
    assert (later.standings[0].state, later.standings[0].status) == (SubscriptionState.ACTIVE, "hibernating")


def test_a_new_subscription_of_unknown_status_gives_nothing() -> None:
    local, projection = seen(picture(subscription("hibernating")))
    assert (projection.entitlement, local.account.plan_slug) == (None, "free")


def other(status: str, days: int = 1, *items: object) -> FetchedSubscription:
    found = subscription(status, *(items or (item("scale"),)))  # type: ignore[arg-type]
    return replace(found, id="sub_2", created_at=START + timedelta(days=days))


@pytest.mark.parametrize(
    ("first", "second", "plan"),
    [
        ("active", "past_due", "pro"),
        ("trialing", "active", "scale"),
        ("past_due", "paused", "pro"),
        ("unpaid", "paused", "scale"),
        ("active", "active", "scale"),
        ("canceled", "active", "scale"),
        ("active", "canceled", "pro"),
        ("active", "incomplete", "pro"),
    ],
)
def test_of_several_subscriptions_the_best_paid_for_counts(first: str, second: str, plan: str) -> None:
    invoices = (invoice(), invoice(id="in_2", subscription_id="sub_2"))
    both = picture(subscription(first), other(second), open_invoices=invoices)
    local, projection = seen(both)
    assert local.account.plan_slug == plan
    are_both_live = not {first, second} & {"canceled", "incomplete"}
    assert projection.attention == ("several_live_subscriptions" if are_both_live else None)


def test_the_end_of_an_old_subscription_does_not_touch_the_new_plan() -> None:
    local, _ = seen(picture(subscription()), picture(subscription(), other("active")))
    later, projection = seen(picture(subscription("canceled"), other("active")), local=local)
    assert (later.account.plan_slug, projection.attention) == ("scale", None)


def test_a_subscription_of_unknown_price_does_not_lift_the_hold_of_another() -> None:
    both = picture(subscription("unpaid"), other("active", 1, item("who_knows")), open_invoices=(invoice(),))
    local, _ = seen(both)
    assert (local.account.plan_slug, local.account.billing_hold) == ("pro", "The subscription is unpaid.")


def test_a_deleted_customer_has_nothing_left() -> None:
    local, _ = seen(owed())
    gone = picture()
    gone = replace(gone, customer=replace(gone.customer, is_deleted=True))
    later, projection = seen(gone, local=local)
    assert (later.account.plan_slug, later.episodes) == ("free", ())
    assert [each.state for each in projection.standings] == [SubscriptionState.ENDED]


def test_overrides_and_an_operators_suspension_are_not_billings_to_write() -> None:
    fields = {each for each in Entitlement.__dataclass_fields__}
    assert fields == {"plan_slug", "granted_units", "hold", "hold_url", "period_anchor"}


@pytest.mark.parametrize(
    "status", ["incomplete", "trialing", "active", "past_due", "unpaid", "paused", "canceled"]
)
def test_projecting_the_same_again_changes_nothing(status: str) -> None:
    once, _ = seen(owed(status))
    twice, projection = seen(owed(status), local=once)
    assert twice == once
    assert projection.entitlement is None or after(once, projection).account == once.account


def test_whatever_was_seen_before_the_last_picture_decides() -> None:
    """Events in any order, repeated or lost: what is fetched at the end is what stands."""
    stories = [
        picture(subscription("trialing")),
        owed(),
        owed("unpaid"),
        picture(subscription("active", item("scale"))),
        picture(subscription("canceled", ended_at=END)),
    ]
    for last in stories[:-1]:
        ends = {
            (found.account.plan_slug, found.account.billing_hold, found.account.granted_units)
            for order in permutations(stories)
            for found, _ in [seen(*order, last)]
        }
        assert len(ends) == 1


def test_plans_may_share_nothing_with_stripe() -> None:
    plan = Plan(slug="inner", name="Inner", quota_units=5)
    offer = Offer(plans=(plan,), plan_of_price={}, fallback="inner")
    local = Local(account=account(plan_slug="inner"))
    projection = project(picture(subscription("active", item(lookup_key=None))), local, offer, RULES, NOW)
    assert projection.attention == "unknown_price"
    assert projection.entitlement is not None
    assert projection.entitlement.plan_slug == "inner"
    assert SCALE.quota_units == 5_000_000
