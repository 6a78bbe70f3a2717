"""A key that acts on keys: only while it may, and never further than itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from api_factory.accounts import Account, Accounts
from api_factory.audit import Actor, Audit
from api_factory.db import Database
from api_factory.errors import (
    AccountSuspended,
    InvalidKey,
    InvalidState,
    KeyExpired,
    KeySuspended,
    NotFound,
    ScopeNotGranted,
    Unavailable,
)
from api_factory.ids import public_id
from api_factory.keys import Grantor, IssuedKey, Key, Keys, KeyStatus, KeyVerb, NewKey
from api_factory.keys.store import read_snapshot

MoveTime = Callable[[str], Awaitable[None]]
LATER = datetime(2090, 1, 1, tzinfo=UTC)
SCOPES = ("MANAGE_KEYS", "RUN_ACTIONS")
BOUNDS: dict[str, Any] = {
    "scopes": SCOPES,
    "allowed_actions": ("shout", "echo"),
    "cidrs": ("203.0.113.0/24", "2001:db8::/32"),
    "cap_units": 10,
    "expires_at": LATER,
    "trusted_documents_only": True,
}
EVERY_VERB = ["create", *KeyVerb]


async def acting(database: Database, key: Key) -> Grantor:
    """Return a key as the guard would let it in now."""
    snapshot = (await read_snapshot(database, key.id)).snapshot
    assert snapshot is not None
    return Grantor.of(snapshot, snapshot.secrets[0].not_after)


def actor(key: Key) -> Actor:
    return Actor("key", key.public_id)


async def manager_of(keys: Keys, account: Account, by: Actor, **options: Any) -> Key:
    new = NewKey(name="manager", **{"scopes": SCOPES, **options})
    return (await keys.create(account.id, new, by=by)).key


def verb_of(keys: Keys, verb: str) -> Callable[..., Awaitable[Key | IssuedKey]]:
    found: Callable[..., Awaitable[Key | IssuedKey]] = getattr(keys, verb)
    return found


async def act(keys: Keys, verb: str, target: Key, grantor: Grantor) -> Key | IssuedKey:
    """Do a verb as the key of the grantor, to a target or beside it."""
    by = Actor("key", public_id("key", grantor.key_id))
    if verb == "create":
        new = NewKey(name="more", scopes=("RUN_ACTIONS",))
        return await keys.create(target.account_id, new, by=by, grantor=grantor)
    return await verb_of(keys, verb)(target.id, by=by, account_id=target.account_id, grantor=grantor)


async def suspend_account(keys: Keys, accounts: Accounts, key: Key, by: Actor) -> None:
    await accounts.suspend(key.account_id, reason="unpaid", by=by)


ENDS: list[tuple[Callable[[Keys, Accounts, Key, Actor], Awaitable[object]], type[Exception]]] = [
    (lambda keys, _, key, by: keys.revoke(key.id, by=by), InvalidKey),
    (lambda keys, _, key, by: keys.suspend(key.id, by=by), KeySuspended),
    (lambda keys, _, key, by: keys.rotate(key.id, by=by), Unavailable),
    (suspend_account, AccountSuspended),
    (lambda _, accounts, key, by: accounts.set_plan(key.account_id, "pro", by=by), Unavailable),
]


@pytest.mark.parametrize("verb", EVERY_VERB)
@pytest.mark.parametrize(("end", "refusal"), ENDS, ids=("revoke", "suspend", "rotate", "account", "plan"))
async def test_authority_that_ended_since_the_guard_does_nothing(
    database: Database,
    keys: Keys,
    audit: Audit,
    accounts: Accounts,
    account: Account,
    by: Actor,
    verb: str,
    end: Callable[..., Awaitable[object]],
    refusal: type[Exception],
) -> None:
    manager = await manager_of(keys, account, by)
    target = (await keys.create(account.id, NewKey(name="k", scopes=("RUN_ACTIONS",)), by=by)).key
    if verb == KeyVerb.RESUME:
        await keys.suspend(target.id, by=actor(manager))
    target = await keys.find(target.id)
    grantor = await acting(database, manager)
    await end(keys, accounts, manager, by)
    entries = await audit.entries()
    with pytest.raises(refusal):
        await act(keys, verb, target, grantor)
    assert await keys.find(target.id) == target
    assert (await keys.list()).total_count == 2
    assert await audit.entries() == entries


async def test_a_key_that_expired_or_whose_secret_ended_since_the_guard_does_nothing(
    database: Database, keys: Keys, account: Account, by: Actor, move_time: MoveTime
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    expiring = await manager_of(keys, account, by, expires_at=soon)
    rotated = await manager_of(keys, account, by)
    await keys.rotate(rotated.id, grace_seconds=3_600, by=by)
    snapshot = (await read_snapshot(database, rotated.id)).snapshot
    assert snapshot is not None
    old = Grantor.of(snapshot, snapshot.secrets[1].not_after)
    assert old.not_after is not None
    grantor = await acting(database, expiring)
    await act(keys, "suspend", rotated, grantor)
    await keys.resume(rotated.id, by=by)
    await move_time("2 hours")
    with pytest.raises(KeyExpired):
        await act(keys, "revoke", rotated, grantor)
    with pytest.raises(InvalidKey):
        await act(keys, "revoke", expiring, old)
    assert (await keys.find(rotated.id)).status is KeyStatus.ACTIVE


async def test_a_creation_that_waits_for_a_revoke_of_its_key_makes_nothing(
    ledger: asyncpg.Connection, database: Database, keys: Keys, account: Account, by: Actor
) -> None:
    manager = await manager_of(keys, account, by)
    grantor = await acting(database, manager)
    async with ledger.transaction():
        await ledger.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))", account.id)
        creation = asyncio.create_task(act(keys, "create", manager, grantor))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(5):
            while not await ledger.fetchval(waiting):
                await asyncio.sleep(0.01)
        await ledger.execute("UPDATE api_key SET status = 'REVOKED' WHERE id = $1", manager.id)
    with pytest.raises(InvalidKey):
        await creation
    assert (await keys.list()).total_count == 1


async def test_a_key_of_another_account_has_no_authority_here(
    database: Database, keys: Keys, account: Account, other: Account, by: Actor
) -> None:
    grantor = await acting(database, await manager_of(keys, other, by))
    mine = await manager_of(keys, account, by)
    for verb in ("create", "suspend", "revoke", "rotate"):
        with pytest.raises(InvalidKey):
            await act(keys, verb, mine, grantor)
    assert await keys.find(mine.id) == mine


WIDER: list[tuple[dict[str, Any], str]] = [
    ({"scopes": ("RUN_ACTIONS", "MANAGE_BILLING")}, "MANAGE_BILLING"),
    ({"allowed_actions": None}, "echo, shout"),
    ({"allowed_actions": ("shout", "whisper")}, "echo, shout"),
    ({"cidrs": ()}, "2001:db8::/32, 203.0.113.0/24"),
    ({"cidrs": ("203.0.113.0/24", "203.0.112.0/23")}, "203.0.113.0/24"),
    ({"cidrs": ("0.0.0.0/0",)}, "203.0.113.0/24"),
    ({"cidrs": ("::/0",)}, "2001:db8::/32"),
    ({"cap_units": None}, "10"),
    ({"cap_units": 11}, "10"),
    ({"expires_at": None}, "2090-01-01"),
    ({"expires_at": LATER + timedelta(seconds=1)}, "2090-01-01"),
    ({"trusted_documents_only": False}, "trusted documents"),
]
WITHIN: list[dict[str, Any]] = [
    {},
    {"scopes": ()},
    {"allowed_actions": ()},
    {"allowed_actions": ("echo",)},
    {"cidrs": ("203.0.113.7/32", "2001:db8:1::/48")},
    {"cap_units": 0},
    {"expires_at": LATER - timedelta(days=1)},
    {"livemode": False},
]


@pytest.mark.parametrize(("wish", "named"), WIDER, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("verb", ["create", "rotate", "resume"])
async def test_nothing_wider_than_the_acting_key_is_made_or_set_free(
    database: Database, keys: Keys, account: Account, by: Actor, verb: str, wish: dict[str, Any], named: str
) -> None:
    manager = await manager_of(keys, account, by, **BOUNDS)
    grantor, mine = await acting(database, manager), actor(manager)
    new = NewKey(name="wide", **{**BOUNDS, **wish})
    if verb == "create":
        with pytest.raises(ScopeNotGranted, match=named):
            await keys.create(account.id, new, by=mine, grantor=grantor)
        assert (await keys.list()).total_count == 1
        return
    wide = (await keys.create(account.id, new, by=by)).key
    if verb == "resume":
        wide = await keys.suspend(wide.id, by=mine, grantor=grantor)
    with pytest.raises(ScopeNotGranted, match=named):
        await verb_of(keys, verb)(wide.id, by=mine, grantor=grantor)
    assert await keys.find(wide.id) == wide


@pytest.mark.parametrize("wish", WITHIN, ids=lambda wish: repr(wish)[:40])
async def test_what_lies_within_the_acting_key_it_may_make_rotate_and_resume(
    database: Database, keys: Keys, account: Account, by: Actor, wish: dict[str, Any]
) -> None:
    manager = await manager_of(keys, account, by, **BOUNDS)
    grantor, mine = await acting(database, manager), actor(manager)
    key = (
        await keys.create(account.id, NewKey(name="k", **{**BOUNDS, **wish}), by=mine, grantor=grantor)
    ).key
    await keys.rotate(key.id, by=mine, grantor=grantor)
    await keys.suspend(key.id, by=mine, grantor=grantor)
    assert (await keys.resume(key.id, by=mine, grantor=grantor)).status is KeyStatus.ACTIVE


async def test_an_unbounded_key_may_make_any_but_for_its_scopes(
    database: Database, keys: Keys, account: Account, by: Actor
) -> None:
    manager = await manager_of(keys, account, by)
    grantor = await acting(database, manager)
    for wish in (*WITHIN, *(wish for wish, _ in WIDER[1:])):
        new = NewKey(name="k", **{**BOUNDS, **wish})
        made = await keys.create(account.id, new, by=actor(manager), grantor=grantor)
        await keys.revoke(made.key.id, by=by)


@pytest.mark.parametrize("verb", ["suspend", "revoke"])
async def test_a_narrow_key_may_stop_a_wider_one(
    database: Database, keys: Keys, account: Account, by: Actor, verb: str
) -> None:
    manager = await manager_of(keys, account, by, **BOUNDS)
    wide = (await keys.create(account.id, NewKey(name="k", scopes=("MANAGE_BILLING",)), by=by)).key
    stopped = await act(keys, verb, wide, await acting(database, manager))
    assert isinstance(stopped, Key)
    assert stopped.status.value == {"suspend": "SUSPENDED", "revoke": "REVOKED"}[verb]


async def test_a_test_key_makes_test_keys_only_and_finds_no_live_ones(
    database: Database, keys: Keys, account: Account, by: Actor
) -> None:
    manager = await manager_of(keys, account, by, livemode=False)
    live = (await keys.create(account.id, NewKey(name="live", scopes=()), by=by)).key
    grantor = await acting(database, manager)
    with pytest.raises(ScopeNotGranted, match="test keys only"):
        await act(keys, "create", live, grantor)
    answers = []
    for verb in KeyVerb:
        with pytest.raises(NotFound) as refusal:
            await act(keys, verb, live, grantor)
        answers.append(refusal.value.message)
    with pytest.raises(NotFound) as missing:
        await keys.find(account.id)
    assert set(answers) == {missing.value.message}
    assert await keys.find(live.id) == live
    new = NewKey(name="test", scopes=(), livemode=False)
    made = await keys.create(account.id, new, by=actor(manager), grantor=grantor)
    assert isinstance(await act(keys, "rotate", made.key, grantor), IssuedKey)


async def test_a_key_may_rotate_itself_even_when_its_plan_has_come_to_allow_less(
    database: Database, keys: Keys, accounts: Accounts, account: Account, by: Actor
) -> None:
    manager = await manager_of(keys, account, by)
    await accounts.set_plan(account.id, "pro", by=by)
    grantor = await acting(database, manager)
    assert grantor.scopes == {"RUN_ACTIONS"}
    new = NewKey(name="k", scopes=("MANAGE_KEYS",))
    with pytest.raises(ScopeNotGranted, match="MANAGE_KEYS"):
        await keys.create(account.id, new, by=actor(manager), grantor=grantor)
    rotated = await act(keys, "rotate", manager, grantor)
    assert isinstance(rotated, IssuedKey)
    assert rotated.key.id == manager.id


@pytest.mark.parametrize("kind", ["staff", "cli", "system", "key"])
async def test_a_key_resumes_only_what_a_key_suspended(
    database: Database, keys: Keys, account: Account, by: Actor, kind: Any
) -> None:
    manager = await manager_of(keys, account, by)
    key = (await keys.create(account.id, NewKey(name="k", scopes=()), by=by)).key
    suspended = await keys.suspend(key.id, by=Actor(kind, "somebody"))
    assert suspended.suspended_by == kind
    grantor = await acting(database, manager)
    if kind == "key":
        resumed = await act(keys, "resume", key, grantor)
    else:
        with pytest.raises(InvalidState, match="SUSPENDED by the operator; allowed now: revoke"):
            await act(keys, "resume", key, grantor)
        assert await keys.find(key.id) == suspended
        resumed = await keys.resume(key.id, by=Actor("cli", "operator"))
    assert isinstance(resumed, Key)
    assert (resumed.status, resumed.suspended_by) == (KeyStatus.ACTIVE, None)


async def test_an_operator_resumes_what_a_key_suspended(keys: Keys, account: Account, by: Actor) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    await keys.suspend(key.id, by=actor(key))
    assert (await keys.resume(key.id, by=by)).status is KeyStatus.ACTIVE
