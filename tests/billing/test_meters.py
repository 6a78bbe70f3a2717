"""Every unit is billed once, under the plan that was in force, through whatever happens on the way."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from api_factory.accounts import Accounts, Plans
from api_factory.audit import Actor, Audit
from api_factory.billing.meters import Meters
from api_factory.billing.stripe import Stripe
from tests.billing.metering import MeterGround, fake, metered, one_fake

__all__ = ["fake", "metered", "one_fake"]  # the fixtures of this module

ROOT = Path(__file__).resolve().parents[2]
BY = Actor("staff", "ada")


async def test_what_exceeds_the_quota_is_told_once_and_what_does_not_never(metered: MeterGround) -> None:
    account, customer = await metered.billed("beyond", 10)
    payer = await metered.payer(account)
    await metered.use(payer, 8)
    await metered.meters.run()
    assert await metered.windows(account) == []
    await metered.use(payer, 7)
    await metered.meters.flush(account)
    await metered.use(payer, 4)
    await metered.meters.flush(account)
    await metered.meters.flush(account)
    assert await metered.windows(account) == [(5, "sent"), (4, "sent")]
    assert metered.at_stripe(customer) == 9


async def test_a_plan_that_bills_all_units_tells_of_the_first_one(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    payer = await metered.payer(account)
    await metered.use(payer, 3)
    await metered.meters.run()
    assert metered.at_stripe(customer) == 3


@pytest.mark.parametrize(("rule", "overage"), [("none", "soft"), ("beyond", "hard"), ("all", "hard")])
async def test_a_plan_that_bills_no_units_tells_of_none(
    metered: MeterGround, rule: str, overage: str
) -> None:
    account, customer = await metered.billed(rule, 10, overage=overage)
    await metered.use(await metered.payer(account), 10)
    await metered.meters.flush(account)
    assert (await metered.windows(account), metered.at_stripe(customer)) == ([], 0)


async def test_test_keys_are_never_billed(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    await metered.use(await metered.payer(account, livemode=False), 9)
    await metered.use(await metered.payer(account), 1)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 1


async def test_held_units_are_billed_when_they_are_settled(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    payer = await metered.payer(account)
    reservation = await metered.ledger.reserve(payer, 9, "r")
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 0
    from api_factory.usage import Line

    await metered.ledger.settle(reservation, payer, [Line("echo", 6)])
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 6


async def test_an_account_without_a_customer_is_not_billed_then_or_later(metered: MeterGround) -> None:
    account, _ = await metered.billed("all", None, linked=False)
    payer = await metered.payer(account)
    await metered.use(payer, 5)
    customer = metered.fake.v1.customers.create().id
    await metered.db.execute("UPDATE account SET stripe_customer_id = $2 WHERE id = $1", account, customer)
    await metered.use(payer, 2)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 2


async def test_a_window_is_closed_once_an_hour_and_at_the_end_of_the_period(metered: MeterGround) -> None:
    account, _ = await metered.billed("all", None)
    payer = await metered.payer(account)
    await metered.use(payer, 1)
    assert await metered.meters.close_due() == 1
    await metered.use(payer, 1)
    assert await metered.meters.close_due() == 0
    await metered.db.execute("UPDATE meter_reading SET judged_at = judged_at - interval '1 hour'")
    assert await metered.meters.close_due() == 1
    await metered.use(payer, 1)
    await metered.set_time("1 month")
    assert await metered.meters.close_due() == 1
    assert await metered.meters.close_due() == 0


async def test_the_last_window_of_a_period_is_counted_within_it_while_the_invoice_is_a_draft(
    metered: MeterGround,
) -> None:
    account, _ = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 1)
    await metered.db.execute(
        "UPDATE quota SET period_end = af_now() - interval '10 minutes' WHERE account_id = $1", account
    )
    await metered.meters.close_due()
    row = await metered.db.fetchrow(
        "SELECT counted_at = period_end - interval '1 second' AS is_within FROM meter_window"
        " JOIN quota USING (account_id, period_start)"
    )
    assert row is not None
    assert row["is_within"]


async def test_usage_that_comes_after_the_invoice_goes_into_the_next_window(metered: MeterGround) -> None:
    account, _ = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 1)
    await metered.db.execute(
        "UPDATE quota SET period_end = af_now() - interval '31 minutes' WHERE account_id = $1", account
    )
    await metered.meters.close_due()
    assert await metered.db.fetchval("SELECT counted_at = window_end FROM meter_window")


async def test_units_that_a_larger_plan_included_stay_included_under_a_smaller_one(
    metered: MeterGround,
) -> None:
    account, customer = await metered.billed("beyond", 1_000)
    payer = await metered.payer(account)
    await metered.use(payer, 400)
    await change_plan(metered, account, "beyond", 100)
    await metered.use(payer, 5)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 5


async def test_an_upgrade_keeps_what_was_told_and_bills_from_the_new_ceiling_on(metered: MeterGround) -> None:
    account, customer = await metered.billed("beyond", 10)
    payer = await metered.payer(account)
    await metered.use(payer, 15)
    await change_plan(metered, account, "beyond", 100)
    await metered.use(payer, 85)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 5
    await metered.use(payer, 3)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 8


async def test_what_was_used_before_a_plan_that_bills_everything_is_not_billed(metered: MeterGround) -> None:
    account, customer = await metered.billed("none", 100, overage="hard")
    payer = await metered.payer(account)
    await metered.use(payer, 60)
    await change_plan(metered, account, "all", None)
    await metered.use(payer, 4)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 4


async def test_what_was_used_under_a_billed_plan_is_billed_after_it_was_left(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    payer = await metered.payer(account)
    await metered.use(payer, 6)
    await change_plan(metered, account, "none", 100)
    await metered.use(payer, 4)
    await metered.meters.run()
    assert metered.at_stripe(customer) == 6


async def test_an_override_holds_from_its_own_moment_on(metered: MeterGround) -> None:
    account, customer = await metered.billed("beyond", 10)
    payer = await metered.payer(account)
    await metered.use(payer, 12)
    accounts = Accounts(metered.db, Audit(metered.db))
    await accounts.set_quota(account, 50, reason="a gift", by=BY)
    payer = payer._replace(account_epoch=(await accounts.get(account)).epoch)
    await metered.use(payer, 38)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 2
    await metered.use(payer, 1)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 3


async def test_a_change_of_the_plans_file_bills_nothing_that_was_used_before(metered: MeterGround) -> None:
    account, customer = await metered.billed("none", 10)
    payer = await metered.payer(account)
    await metered.use(payer, 40)
    plans = Plans(metered.db, Audit(metered.db))
    (plan,) = await plans.list()
    await plans.apply([replace(plan, billed_units="beyond")], by=BY)
    await metered.db.execute("UPDATE plan SET epoch = 0")
    await metered.use(payer, 2)
    await metered.meters.flush(account)
    assert metered.at_stripe(customer) == 2


async def test_many_closers_and_changes_at_once_judge_each_unit_once(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    payer = await metered.payer(account)

    async def charge() -> None:
        for _ in range(40):
            await metered.use(payer, 1)

    async def close() -> None:
        for _ in range(25):
            await metered.meters.flush(account)

    async def touch() -> None:
        for number in range(25):
            await metered.db.execute(
                "UPDATE account SET granted_units = $2 WHERE id = $1", account, 1_000 + number
            )

    await asyncio.gather(*(charge() for _ in range(5)), *(close() for _ in range(3)), touch())
    await metered.meters.flush(account)
    await metered.make_due()
    await metered.meters.send_due()
    assert sum(units for units, _ in await metered.windows(account)) == 200
    assert metered.at_stripe(customer) == 200


async def test_stripe_is_told_whole_numbers_as_text_under_a_name_that_repeats_itself(
    metered: MeterGround,
) -> None:
    account, customer = await metered.billed("all", None)
    payer = await metered.payer(account)
    await metered.use(payer, 3)
    await metered.meters.flush(account)
    identifier = await metered.db.fetchval("SELECT identifier FROM meter_window")
    period = await metered.db.fetchval(
        "SELECT (extract(epoch FROM period_start) * 1000000)::bigint FROM quota"
    )
    assert identifier == f"{customer}:api_factory_units:{period}:0"
    # A database that was restored from before the closing names the window the same.
    await metered.db.execute("DELETE FROM meter_window")
    await metered.db.execute("DELETE FROM meter_reading")
    await metered.meters.flush(account)
    assert await metered.db.fetchval("SELECT identifier FROM meter_window") == identifier
    assert await metered.windows(account) == [(3, "sent")]
    assert metered.at_stripe(customer) == 3


async def test_an_answer_that_got_lost_is_asked_for_again_and_counted_once(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 3)
    metered.fake.control(
        "faults", kind="error_500", match="POST /v1/billing/meter_events", after=True, times=3
    )
    await metered.meters.flush(account)
    assert await metered.windows(account) == [(3, "pending")]
    await metered.make_due()
    await metered.meters.send_due()
    assert await metered.windows(account) == [(3, "sent")]
    assert metered.at_stripe(customer) == 3


async def test_while_stripe_is_away_units_wait_and_are_counted_where_they_belong(
    metered: MeterGround,
) -> None:
    account, customer = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 3)
    away = Stripe("sk_test_x", base="http://127.0.0.1:1", timeout_seconds=1)
    await Meters(metered.db, away).flush(account)
    assert await metered.windows(account) == [(3, "pending")]
    assert (await metered.meters.counts())[:2] == (1, 0)
    await metered.make_due()
    await metered.meters.send_due()
    assert metered.at_stripe(customer) == 3


async def test_without_a_key_of_stripe_units_wait(metered: MeterGround) -> None:
    account, _ = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 3)
    await Meters(metered.db, Stripe(None)).run()
    assert await metered.windows(account) == [(3, "pending")]
    assert await metered.db.fetchval("SELECT attempts FROM meter_window") == 0


async def test_after_23_hours_a_window_that_stripe_has_is_not_sent_again(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 3)
    metered.fake.control(
        "faults", kind="error_500", match="POST /v1/billing/meter_events", after=True, times=3
    )
    await metered.meters.flush(account)
    await let_a_day_pass(metered)
    await metered.meters.send_due()
    assert await metered.windows(account) == [(3, "sent")]
    assert metered.at_stripe(customer) == 3


async def test_after_23_hours_a_window_that_stripe_lacks_is_sent(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 3)
    metered.fake.control("faults", kind="error_500", match="POST /v1/billing/meter_events", times=3)
    await metered.meters.flush(account)
    await let_a_day_pass(metered)
    await metered.meters.send_due()
    assert await metered.windows(account) == [(3, "sent")]
    assert metered.at_stripe(customer) == 3


async def test_after_23_hours_a_sum_that_fits_neither_is_left_to_a_person(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 3)
    metered.fake.control("faults", kind="error_500", match="POST /v1/billing/meter_events", times=3)
    await metered.meters.flush(account)
    counted = await metered.db.fetchval(
        "SELECT floor(extract(epoch FROM counted_at))::bigint FROM meter_window"
    )
    metered.fake.v1.billing.meter_events.create(
        {
            "event_name": "api_factory_units",
            "timestamp": counted,
            "payload": {"stripe_customer_id": customer, "value": "2"},
        }
    )
    await let_a_day_pass(metered)
    await metered.meters.send_due()
    assert await metered.windows(account) == [(3, "dead")]
    error = await metered.db.fetchval("SELECT last_error FROM meter_window")
    assert error == "Stripe has 2 units of this minute, 0 were sent besides these."
    assert metered.at_stripe(customer) == 2


async def test_usage_older_than_stripe_takes_is_dead_and_counted_as_such(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 3)
    await Meters(metered.db, Stripe(None)).flush(account)
    await metered.db.execute("UPDATE meter_window SET counted_at = counted_at - interval '34 days 1 minute'")
    await metered.meters.send_due()
    assert await metered.windows(account) == [(3, "dead")]
    assert (await metered.meters.counts())[:2] == (0, 1)
    assert metered.at_stripe(customer) == 0


async def test_what_stripe_refuses_waits_for_somebody_to_mend_the_meter(metered: MeterGround) -> None:
    account, customer = await metered.billed("all", None)
    await metered.use(await metered.payer(account), 3)
    meter = metered.fake.v1.billing.meters.list().data[0].id
    metered.fake.v1.billing.meters.deactivate(meter)
    await metered.meters.flush(account)
    assert await metered.windows(account) == [(3, "pending")]
    assert await metered.db.fetchval("SELECT uncertain_since FROM meter_window") is None
    metered.fake.v1.billing.meters.reactivate(meter)
    await metered.make_due()
    await metered.meters.send_due()
    assert metered.at_stripe(customer) == 3


async def test_the_comparison_finds_what_stripe_has_more_or_less(metered: MeterGround) -> None:
    account, _ = await metered.billed("all", None)
    other, other_customer = await metered.billed("all", None)
    for owner in (account, other):
        await metered.use(await metered.payer(owner), 3)
        await metered.meters.flush(owner)
    await metered.set_time("2 minutes")
    same = await metered.meters.compare(1)
    assert (same.customers, same.differences) == (2, ())
    await metered.db.execute("UPDATE meter_window SET units = 5 WHERE account_id = $1", other)
    (found,) = (await metered.meters.compare(1)).differences
    assert (found.customer_id, found.sent_units, found.stripe_units) == (other_customer, 5, 3)


async def test_nothing_is_lost_or_doubled_when_senders_are_killed(
    metered: MeterGround, database_url: str
) -> None:
    account, customer = await metered.billed("all", None)
    payer = await metered.payer(account)
    chance = random.Random(7)
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)}
    used = 0
    for _ in range(12):
        for _ in range(chance.randint(1, 4)):
            await metered.use(payer, 1)
            used += 1
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.billing.meter_worker", metered.fake.url, str(account)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        await asyncio.to_thread(child.stdout.readline)
        await asyncio.sleep(chance.uniform(0, 0.15))
        await metered.use(payer, 1)
        used += 1
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        await metered.make_due()
    await metered.meters.flush(account)
    await metered.make_due()
    await metered.meters.send_due()
    windows = await metered.windows(account)
    assert {state for _, state in windows} == {"sent"}
    assert sum(units for units, _ in windows) == used
    assert metered.at_stripe(customer) == used


async def change_plan(ground: MeterGround, account: object, rule: str, quota_units: int | None) -> None:
    """Put the account on another plan, as `Accounts` does it; the epochs of this ground stand still."""
    slug = f"other-{random.randrange(10**9)}"
    await ground.db.execute(
        "INSERT INTO plan (slug, name, quota_units, test_quota_units, overage, billed_units, description,"
        " price_cents, currency, billing_interval, rate, key_limit, sort_order, epoch)"
        " VALUES ($1, $1, $2, 10, 'soft', $3, '', 0, 'usd', 'month', '', 50, 0, 0)",
        slug,
        quota_units,
        rule,
    )
    await ground.db.execute("UPDATE account SET plan = $2 WHERE id = $1", account, slug)


async def let_a_day_pass(ground: MeterGround) -> None:
    """Let 25 hours pass here and at Stripe, and no pause hold a window back."""
    ground.fake.advance(seconds=25 * 3_600)
    await ground.set_time("25 hours")
    await ground.make_due()
