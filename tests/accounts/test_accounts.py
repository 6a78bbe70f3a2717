from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from api_factory.accounts import Account, Accounts, AccountStatus, Plan, Plans
from api_factory.audit import Actor, Audit
from api_factory.changes import CHANNEL, current_epoch
from api_factory.db import Database
from api_factory.errors import AlreadyExists, ApiFactoryError, BadUserInput, InvalidState, NotFound
from api_factory.ids import public_id, uuid7

FREE = Plan(slug="free", name="Free", quota_units=100, rate="10/second")
PRO = Plan(slug="pro", name="Pro", quota_units=1_000, rate="50/second")
OLD = Plan(slug="old", name="Old", quota_units=1)

Change = Callable[[Accounts, UUID, Actor], Awaitable[Account]]

CHANGES: dict[str, Change] = {
    "plan_changed": lambda accounts, account, by: accounts.set_plan(account, "pro", by=by),
    "quota_changed": lambda accounts, account, by: accounts.set_quota(account, 5, reason="asked", by=by),
    "rate_changed": lambda accounts, account, by: accounts.set_rate(
        account, "7/second", reason="asked", by=by
    ),
    "suspended": lambda accounts, account, by: accounts.suspend(account, reason="unpaid", by=by),
}


@pytest.fixture(autouse=True)
async def offer(plans: Plans, by: Actor) -> None:
    await plans.apply([FREE, PRO, OLD], by=by)
    await plans.apply([FREE, PRO], by=by)


@pytest.fixture
async def account(offer: None, accounts: Accounts, by: Actor) -> Account:
    return await accounts.create("owner@example.com", name="Owner", by=by)


async def test_an_account_is_found_by_its_id_and_by_its_email_in_any_case(
    accounts: Accounts, account: Account
) -> None:
    assert account.public_id == public_id("acc", account.id)
    assert (account.plan_slug, account.status, account.epoch) == ("free", AccountStatus.ACTIVE, 0)
    assert await accounts.find(account.public_id) == account
    assert await accounts.find(" Owner@Example.COM ") == account
    assert await accounts.get(account.id) == account


async def test_overrides_at_creation_are_kept(accounts: Accounts, by: Actor) -> None:
    account = await accounts.create(
        "a@example.com", plan="pro", quota_units=0, rate="600/minute; 10/second", by=by
    )
    assert (account.plan_slug, account.quota_units, account.rate) == ("pro", 0, "10/second;600/minute")


async def test_a_creation_leaves_an_audit_entry(audit: Audit, account: Account) -> None:
    (entry,) = await audit.entries(target_id=account.public_id)
    assert (entry.verb, entry.actor.request_id, entry.before) == ("staff:account:created", "req-1", None)
    assert entry.after is not None
    assert (entry.after["email"], entry.after["plan_slug"]) == ("owner@example.com", "free")


async def test_an_email_is_used_once_whatever_its_case(
    accounts: Accounts, audit: Audit, account: Account, by: Actor
) -> None:
    entries = await audit.entries()
    with pytest.raises(AlreadyExists):
        await accounts.create("OWNER@example.com", by=by)
    assert await accounts.list() == (account,)
    assert await audit.entries() == entries


async def test_racers_for_one_email_make_one_account(accounts: Accounts, by: Actor) -> None:
    results = await asyncio.gather(
        *(accounts.create("racer@example.com", by=by) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(result, Account) for result in results) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 9


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "@example.com",
        "a@",
        "a@b",
        "a@b@example.com",
        "a b@example.com",
        "a\n@example.com",
        "a\0@example.com",
        "\ud800@example.com",
        "a@example..com",
        "a@.example.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 400 + ".com",
        "İ" * 30 + "@" + "İ" * 280 + ".com",
    ],
)
async def test_what_is_no_email_is_refused(accounts: Accounts, by: Actor, email: str) -> None:
    with pytest.raises(BadUserInput):
        await accounts.create(email, by=by)
    assert await accounts.list() == ()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"name": "x" * 201}, BadUserInput),
        ({"name": "a\0b"}, BadUserInput),
        ({"name": "\ud800"}, BadUserInput),
        ({"quota_units": -1}, BadUserInput),
        ({"quota_units": 2**63}, BadUserInput),
        ({"rate": "fast"}, BadUserInput),
        ({"rate": ";".join(f"{2**31 - 1} per {n} hour" for n in range(1, 20))}, BadUserInput),
        ({"plan": "none"}, NotFound),
        ({"plan": "a\0b"}, NotFound),
        ({"plan": "old"}, BadUserInput),
    ],
)
async def test_a_bad_request_makes_no_account(
    accounts: Accounts, by: Actor, arguments: dict[str, object], kind: type[ApiFactoryError]
) -> None:
    with pytest.raises(kind):
        await accounts.create("a@example.com", by=by, **arguments)  # type: ignore[arg-type]
    assert await accounts.list() == ()


@pytest.mark.parametrize(
    "reference", ["", "nobody@example.com", "acc_x", "a\0b", "\ud800", "x" * 1_000_000, "key_" + "0" * 22]
)
async def test_an_unknown_reference_is_not_found(accounts: Accounts, reference: str) -> None:
    with pytest.raises(NotFound, match="no such account"):
        await accounts.find(reference)


async def test_a_missing_account_is_not_found_by_any_verb(accounts: Accounts, by: Actor) -> None:
    for change in CHANGES.values():
        with pytest.raises(NotFound):
            await change(accounts, uuid7(), by)
    with pytest.raises(NotFound):
        await accounts.find(public_id("acc", uuid7()))


@pytest.mark.parametrize("verb", CHANGES)
async def test_every_change_is_audited_numbered_and_announced(
    database: Database, accounts: Accounts, audit: Audit, account: Account, by: Actor, verb: str
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await database.connect()
    await listener.add_listener(CHANNEL, lambda *news: heard.put_nowait(news[3]))
    changed = await CHANGES[verb](accounts, account.id, by)
    assert changed == await accounts.get(account.id)
    assert changed.epoch == await current_epoch(database) > account.epoch
    assert await asyncio.wait_for(heard.get(), 10) == str(changed.epoch)
    (entry,) = await audit.entries(target_id=account.public_id, limit=1)
    assert entry.verb == f"staff:account:{verb}"
    assert entry.before != entry.after
    await listener.close()


async def test_a_change_that_rolls_back_leaves_no_trace(
    database: Database, accounts: Accounts, audit: Audit, account: Account, by: Actor
) -> None:
    entries, epoch = await audit.entries(), await current_epoch(database)

    async def fail() -> None:
        async with database.transaction():
            await accounts.suspend(account.id, reason="unpaid", by=by)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await accounts.get(account.id) == account
    assert (await audit.entries(), await current_epoch(database)) == (entries, epoch)


async def test_a_plan_change_keeps_the_overrides(accounts: Accounts, account: Account, by: Actor) -> None:
    await accounts.set_quota(account.id, 5, reason="asked", by=by)
    changed = await accounts.set_plan(account.id, "pro", by=by)
    assert (changed.plan_slug, changed.quota_units, changed.override_reason) == ("pro", 5, "asked")


async def test_a_plan_not_on_offer_is_refused(accounts: Accounts, account: Account, by: Actor) -> None:
    with pytest.raises(NotFound):
        await accounts.set_plan(account.id, "none", by=by)
    with pytest.raises(BadUserInput, match="not on offer"):
        await accounts.set_plan(account.id, "old", by=by)
    assert await accounts.get(account.id) == account


async def test_an_override_needs_a_reason_and_clearing_the_last_one_clears_it(
    accounts: Accounts, account: Account, by: Actor
) -> None:
    with pytest.raises(BadUserInput, match="reason"):
        await accounts.set_quota(account.id, 5, reason=" ", by=by)
    with pytest.raises(BadUserInput, match="reason"):
        await accounts.set_rate(account.id, "5/second", reason="", by=by)
    await accounts.set_quota(account.id, 5, reason="first", by=by)
    both = await accounts.set_rate(account.id, "5/second", reason="second", by=by)
    assert (both.quota_units, both.rate, both.override_reason) == (5, "5/second", "second")
    one = await accounts.set_quota(account.id, None, reason="", by=by)
    assert (one.quota_units, one.override_reason) == (None, "second")
    none = await accounts.set_rate(account.id, None, reason="", by=by)
    assert (none.rate, none.override_reason) == (None, None)


async def test_a_bad_override_changes_nothing(accounts: Accounts, account: Account, by: Actor) -> None:
    with pytest.raises(BadUserInput):
        await accounts.set_quota(account.id, -1, reason="x", by=by)
    with pytest.raises(BadUserInput):
        await accounts.set_rate(account.id, "fast", reason="x", by=by)
    with pytest.raises(BadUserInput):
        await accounts.set_rate(account.id, "1/second", reason="x" * 501, by=by)
    assert await accounts.get(account.id) == account


async def test_suspend_and_resume_allow_only_each_other(
    accounts: Accounts, account: Account, by: Actor
) -> None:
    with pytest.raises(InvalidState, match="Cannot resume an account that is ACTIVE; allowed now: suspend"):
        await accounts.resume(account.id, by=by)
    suspended = await accounts.suspend(account.id, reason=" unpaid ", by=by)
    assert (suspended.status, suspended.suspended_reason) == (AccountStatus.SUSPENDED, "unpaid")
    with pytest.raises(
        InvalidState, match="Cannot suspend an account that is SUSPENDED; allowed now: resume"
    ):
        await accounts.suspend(account.id, reason="again", by=by)
    resumed = await accounts.resume(account.id, by=by)
    assert (resumed.status, resumed.suspended_reason) == (AccountStatus.ACTIVE, None)


async def test_a_suspension_needs_a_reason(accounts: Accounts, account: Account, by: Actor) -> None:
    with pytest.raises(BadUserInput, match="reason"):
        await accounts.suspend(account.id, reason="", by=by)
    assert await accounts.get(account.id) == account


async def test_accounts_are_paged_newest_first(accounts: Accounts, by: Actor) -> None:
    made = [await accounts.create(f"a{n}@example.com", by=by) for n in range(5)]
    newest_first = sorted(made, key=lambda account: account.id, reverse=True)
    assert await accounts.list() == tuple(newest_first)
    page = await accounts.list(first=2)
    assert page == tuple(newest_first[:2])
    assert await accounts.list(after=page[-1].id) == tuple(newest_first[2:])
    assert await accounts.list(first=0) == ()
    with pytest.raises(BadUserInput):
        await accounts.list(first=501)
