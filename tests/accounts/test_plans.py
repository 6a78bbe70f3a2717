from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from api_factory.accounts import Accounts, Plan, PlanChanges, Plans, load_plans
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
            key_limit=3,
        ),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no plan"),
        ("plan = 3", "holds no plan"),
        ("plan = []", "holds no plan"),
        ("plans = []", "'plans' is not known"),
        ("[[plan]\n", "is not valid TOML"),
        ("plan = [1]", "plan number 1: the table: "),
        ("[[plan]]\nname = 'A'\nquota_units = 1", "plan number 1: slug: Field required"),
        ("[[plan]]\nslug = 'A b'\nname = 'A'\nquota_units = 1", "plan 'A b': slug: "),
        ("[[plan]]\nslug = 'a'\nname = ''\nquota_units = 1", "plan 'a': name: "),
        ('[[plan]]\nslug = "a"\nname = "\\u0000"\nquota_units = 1', "plan 'a': name: .*cannot be stored"),
        ("[[plan]]\nslug = 'a'\nname = 'A'", "plan 'a': quota_units: Field required"),
        ("[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = -1", "plan 'a': quota_units: "),
        ("[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 'many'", "plan 'a': quota_units: "),
        ("[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 1\nprice = 9.99", "plan 'a': price: "),
        (
            "[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 1\nrate = 'fast'",
            "plan 'a': rate: .*is not a rate",
        ),
        ("[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 1\ninterval = 'week'", "plan 'a': interval: "),
        ("[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 1\nscopes = ['run']", "plan 'a': scopes.0: "),
        ("[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 1\nqouta = 2", "plan 'a': qouta: "),
        ("[[plan]]\nslug = 'a'\nname = 'A'\nquota_units = 1\n" * 2, "two plans have the slug 'a'"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_plan_and_field(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=sentence) as refusal:
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
