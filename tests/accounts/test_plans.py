from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from api_factory.accounts import Accounts, Plan, PlanChanges, Plans, load_plans, unit_price
from api_factory.audit import Actor, Audit
from api_factory.changes import current_epoch
from api_factory.db import Database
from api_factory.errors import ConfigurationError, NotFound
from api_factory.rates import parse_rates

FREE = Plan(slug="free", name="Free", quota_units=100, rate="10/second")
PRO = Plan(slug="pro", name="Pro", quota_units=None, scopes=frozenset({"B", "A"}), sort_order=1)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plans.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_plans_are_free_pro_and_scale() -> None:
    free, pro, scale = load_plans()
    assert (free.slug, free.price_cents, free.quota_units, free.overage) == ("free", 0, 1_000, "hard")
    assert (pro.slug, pro.quota_units, pro.stripe_lookup_key) == ("pro", 100_000, "pro_monthly")
    assert (scale.slug, scale.quota_units, scale.overage) == ("scale", 5_000_000, "soft")
    assert (scale.billed_units, scale.lookup_keys) == ("beyond", ("scale_monthly", "scale_units"))
    assert unit_price(scale) == Decimal("0.02")
    assert [plan.is_sold for plan in (free, pro, scale)] == [False, True, True]
    assert [plan.rate for plan in (free, pro, scale)] == [
        "10/second;120/minute",
        "50/second;1500/minute",
        "500/second;15000/minute",
    ]
    assert all(parse_rates(plan.rate) for plan in (free, pro, scale))
    assert [plan.sort_order for plan in (free, pro, scale)] == [0, 1, 2]


def test_a_plan_says_everything_the_file_may_say(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [[plan]]
        slug = "team-2"
        name = "Team"
        description = "For teams."
        price = 100
        currency = "eur"
        interval = "year"
        stripe_lookup_key = "team"
        quota_units = "unlimited"
        test_quota_units = 7
        rate = "100 per 5 minute; 10/second"
        scopes = ["RUN_ACTIONS"]
        overage = "soft"
        billed_units = "all"
        overage_lookup_key = "team_units"
        overage_price = 15
        overage_per_units = 1_000
        trial_days = 14
        trial_quota_units = 50
        key_limit = 3
        """,
    )
    assert load_plans(path) == (
        Plan(
            slug="team-2",
            name="Team",
            description="For teams.",
            price_cents=100,
            currency="eur",
            billing_interval="year",
            stripe_lookup_key="team",
            quota_units=None,
            test_quota_units=7,
            rate="10/second;100 per 5 minute",
            scopes=frozenset({"RUN_ACTIONS"}),
            overage="soft",
            billed_units="all",
            overage_lookup_key="team_units",
            overage_price_cents=15,
            overage_per_units=1_000,
            trial_days=14,
            trial_quota_units=50,
            key_limit=3,
        ),
    )


A = "[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 1\n"
SOLD = A + "stripe_lookup_key = 'a_monthly'\n"
SOFT = SOLD + "overage = 'soft'\n"
METERED = SOFT + "billed_units = 'beyond'\noverage_lookup_key = 'a_units'\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", " holds no plan; write each as [[plan]]."),
        ("plan = 3", " holds no plan; write each as [[plan]]."),
        ("plan = []", " holds no plan; write each as [[plan]]."),
        ("plans = []", ": 'plans' is not known; write each plan as [[plan]]."),
        ("plan = [1]", ": plan number 1: it is no table; write it as [[plan]]."),
        (
            "[[plan]]\nname = 'A'\nquota_units = 1",
            ": plan number 1: slug is missing; write 1 to 63 lower-case letters, digits and single hyphens, "
            "such as pro.",
        ),
        (
            "[[plan]]\nslug = 'A b'\nname = 'A'\nquota_units = 1",
            ": plan 'A b': slug is not valid; write 1 to 63 lower-case letters, digits and single hyphens, "
            "such as pro.",
        ),
        (
            "[[plan]]\nslug = 'a'\nname = ''\nquota_units = 1",
            ": plan 'a': name is not valid; write 1 to 200 characters for people.",
        ),
        (
            '[[plan]]\nslug = "a"\nname = "\\u0000"\nquota_units = 1',
            ": plan 'a': name: it holds a character that cannot be stored; remove it.",
        ),
        (
            "[[plan]]\nslug = 'a'\nname = 'A'",
            ": plan 'a': quota_units is missing; write a whole number of units from 0, or \"unlimited\".",
        ),
        (
            "[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = -1",
            ": plan 'a': quota_units is not valid; write a whole number of units from 0, or \"unlimited\".",
        ),
        (
            "[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 'many'",
            ": plan 'a': quota_units is not valid; write a whole number of units from 0, or \"unlimited\".",
        ),
        (
            A + "price = 9.99",
            ": plan 'a': price is not valid; write a whole number of the currency's smallest unit, such as "
            "2_900 for 29.00.",
        ),
        (
            A + "currency = 'USD'",
            ": plan 'a': currency is not valid; write the three lower-case letters of its ISO 4217 code, "
            "such as usd.",
        ),
        (
            A + "rate = 'fast'",
            ": plan 'a': rate: 'fast' is not a rate; write it as \"10/second;600/minute\" or "
            '"100 per 5 minute".',
        ),
        (A + "interval = 'week'", ': plan \'a\': interval is not valid; write "month" or "year".'),
        (
            A + "scopes = ['run']",
            ": plan 'a': scopes is not valid; write a list of names in capitals, such as [\"RUN_ACTIONS\"].",
        ),
        (A + "qouta_units = 2", ": plan 'a': 'qouta_units' is not known; did you mean quota_units."),
        (A + "colour = 2", ": plan 'a': 'colour' is not known; remove it."),
        (A * 2, ": two plans have the slug 'a'; rename one."),
        (
            A + "price = 100_000_000",
            ": plan 'a': price is larger than Stripe takes; write at most 99,999,999.",
        ),
        (
            A + "overage_price = 1",
            ": plan 'a': overage_price means nothing while overage is \"hard\"; remove it, or write "
            'overage = "soft".',
        ),
        (
            SOFT,
            ": plan 'a': overage \"soft\" lets calls beyond the quota pass; say with billed_units what is "
            'billed: "beyond", "all" or "none".',
        ),
        (
            SOFT + "billed_units = 'none'\noverage_price = 1",
            ": plan 'a': overage_price is given but no unit is billed; write billed_units = \"beyond\" or "
            '"all", or remove it.',
        ),
        (
            SOFT + "billed_units = 'all'",
            ": plan 'a': billed_units needs overage_lookup_key; add it, or write billed_units = \"none\".",
        ),
        (
            A + "overage = 'soft'\nbilled_units = 'all'\noverage_lookup_key = 'a_units'\noverage_price = 1",
            ": plan 'a': billed_units needs stripe_lookup_key; add it, or write billed_units = \"none\".",
        ),
        (
            METERED,
            ": plan 'a': overage_price is missing; write what overage_per_units units cost, 0 for nothing.",
        ),
        (
            METERED.replace("quota_units = 1", "quota_units = 'unlimited'") + "overage_price = 1",
            ": plan 'a': nothing is beyond quota_units = \"unlimited\"; write a number, or billed_units = "
            '"all".',
        ),
        (
            METERED + "overage_price = 1\noverage_per_units = 3",
            ": plan 'a': overage_price / overage_per_units has more than 12 decimals; choose an "
            "overage_per_units such as 1_000.",
        ),
        (
            A + "trial_days = 7",
            ": plan 'a': trial_days needs stripe_lookup_key, for a trial is one of a subscription; add it or "
            "remove both.",
        ),
        (
            SOLD + "trial_quota_units = 7",
            ": plan 'a': trial_quota_units needs trial_days; add it, or remove trial_quota_units.",
        ),
        (
            SOLD + "trial_days = 731",
            ": plan 'a': trial_days is not valid; write a whole number of days from 0 to 730.",
        ),
        (
            A + "quantity = 'multiply'",
            ": plan 'a': quantity \"multiply\" needs stripe_lookup_key; add it, or write quantity = "
            '"ignore".',
        ),
        (
            SOLD.replace("quota_units = 1", "quota_units = 'unlimited'") + "quantity = 'multiply'",
            ": plan 'a': quantity \"multiply\" has nothing to multiply; give quota_units a number.",
        ),
        (
            SOLD + SOLD.replace("slug = 'a'", "slug = 'b'"),
            ": plan 'b' and plan 'a' have the lookup key 'a_monthly'; give each price its own.",
        ),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_plan_and_the_fix(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as refusal:
        load_plans(path)
    assert refusal.value.message == f"{path}{sentence}"


def test_a_file_that_is_no_toml_is_told_where(tmp_path: Path) -> None:
    path = written(tmp_path, "[[plan]\n")
    with pytest.raises(
        ConfigurationError, match=r"is not valid TOML: .*line 1.*; correct that line\."
    ) as refusal:
        load_plans(path)
    assert str(path) in refusal.value.message


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_plans(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_plans(tmp_path / "binary.toml")


async def test_plans_are_created_as_the_file_says(plans: Plans, by: Actor) -> None:
    assert await plans.apply([FREE, PRO], by=by) == PlanChanges(("free", "pro"), (), ())
    assert await plans.list() == (FREE, PRO)
    assert await plans.find("pro") == PRO


async def test_applying_again_changes_nothing(
    database: Database, plans: Plans, audit: Audit, by: Actor
) -> None:
    await plans.apply([FREE, PRO], by=by)
    epoch, entries = await current_epoch(database), await audit.entries()
    assert await plans.apply([FREE, PRO], by=by) == PlanChanges((), (), ())
    assert (await current_epoch(database), await audit.entries()) == (epoch, entries)


async def test_a_changed_plan_says_what_changed_and_gets_a_new_epoch(
    database: Database, plans: Plans, audit: Audit, by: Actor
) -> None:
    await plans.apply([FREE, PRO], by=by)
    found = await plans.apply([replace(FREE, quota_units=200, scopes=frozenset({"A"})), PRO], by=by)
    assert found == PlanChanges((), ("free",), ())
    assert (await plans.find("free")).quota_units == 200
    (entry,) = await audit.entries(limit=1)
    assert (entry.verb, entry.target_id) == ("staff:plan:changed", "free")
    assert entry.before == {"quota_units": 100, "scopes": None}
    assert entry.after == {"quota_units": 200, "scopes": ["A"]}
    epochs = dict(await database.fetch("SELECT slug, epoch FROM plan"))
    assert epochs["free"] == await current_epoch(database) > epochs["pro"]


async def test_a_plan_the_file_lacks_is_archived_and_its_accounts_stay(
    plans: Plans, accounts: Accounts, audit: Audit, by: Actor
) -> None:
    await plans.apply([FREE, PRO], by=by)
    account = await accounts.create("a@example.com", plan="pro", by=by)
    assert await plans.apply([FREE], by=by) == PlanChanges((), (), ("pro",))
    assert await plans.list() == (FREE,)
    assert await plans.list(include_archived=True) == (FREE, replace(PRO, archived=True))
    assert (await accounts.get(account.id)).plan_slug == "pro"
    assert [entry.verb for entry in await audit.entries(target_id="pro")] == [
        "staff:plan:archived",
        "staff:plan:created",
    ]
    assert await plans.apply([FREE], by=by) == PlanChanges((), (), ())


async def test_an_override_outlives_every_change_of_the_plan(
    plans: Plans, accounts: Accounts, by: Actor
) -> None:
    await plans.apply([FREE], by=by)
    account = await accounts.create("a@example.com", plan="free", quota_units=7, rate="1/second", by=by)
    await plans.apply([replace(FREE, quota_units=500, rate="9/second")], by=by)
    now = await accounts.get(account.id)
    assert (now.quota_units, now.rate) == (7, "1/second")


async def test_an_archived_plan_that_returns_is_on_offer_again(plans: Plans, by: Actor) -> None:
    await plans.apply([FREE, PRO], by=by)
    await plans.apply([FREE], by=by)
    assert await plans.apply([FREE, PRO], by=by) == PlanChanges((), ("pro",), ())
    assert await plans.find("pro") == PRO


async def test_many_processes_may_apply_the_plans_at_once(plans: Plans, audit: Audit, by: Actor) -> None:
    results = await asyncio.gather(*(plans.apply(load_plans(), by=by) for _ in range(8)))
    assert sorted(len(found.created) for found in results) == [0] * 7 + [3]
    assert len(await audit.entries()) == 3


@pytest.mark.parametrize("slug", ["none", "", "a\0b", "\ud800"])
async def test_an_unknown_plan_is_not_found(plans: Plans, slug: str) -> None:
    with pytest.raises(NotFound, match="no such plan"):
        await plans.find(slug)
