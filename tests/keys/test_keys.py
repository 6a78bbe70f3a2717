from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from api_factory.accounts import Account, Accounts
from api_factory.audit import Actor, Audit
from api_factory.changes import current_epoch
from api_factory.db import Database
from api_factory.errors import (
    ApiFactoryError,
    BadUserInput,
    InvalidState,
    LimitReached,
    NotFound,
    ScopeNotGranted,
)
from api_factory.ids import public_id, uuid7
from api_factory.keys import ALLOWED, IssuedKey, Key, Keys, KeyStatus, KeyVerb, NewKey, parse

MoveTime = Callable[[str], Awaitable[None]]
Verb = Callable[..., Awaitable[Key | IssuedKey]]


def verbs(keys: Keys) -> Mapping[KeyVerb, Verb]:
    return {
        KeyVerb.SUSPEND: keys.suspend,
        KeyVerb.RESUME: keys.resume,
        KeyVerb.REVOKE: keys.revoke,
        KeyVerb.ROTATE: keys.rotate,
    }


async def key_in(state: KeyStatus, keys: Keys, account: Account, by: Actor, move_time: MoveTime) -> Key:
    """Make a key of the account and bring it into a state."""
    expires_at = datetime.now(UTC) + timedelta(hours=1) if state is KeyStatus.EXPIRED else None
    key = (await keys.create(account.id, NewKey(name="k", expires_at=expires_at), by=by)).key
    if state is KeyStatus.SUSPENDED:
        await keys.suspend(key.id, by=by, reason="leaked?")
    elif state is KeyStatus.REVOKED:
        await keys.revoke(key.id, by=by)
    elif state is KeyStatus.EXPIRED:
        await move_time("2 hours")
    return await keys.find(key.id)


async def test_a_new_key_is_what_was_asked_for_and_its_secret_is_shown_once(
    keys: Keys, account: Account, by: Actor
) -> None:
    expires_at = datetime(2100, 1, 1, tzinfo=UTC)
    new = NewKey(
        name=" Server ",
        scopes=("RUN_ACTIONS", "MANAGE_KEYS", "RUN_ACTIONS"),
        allowed_actions=("shout",),
        cidrs=("203.0.113.0/24", "2001:DB8::/32", "192.0.2.1"),
        cap_units=0,
        metadata={"team": "ä", "n": [1, {"deep": None}]},
        livemode=False,
        expires_at=expires_at,
        trusted_documents_only=True,
    )
    issued = await keys.create(account.id, new, by=by)
    key = issued.key
    presented = parse(issued.secret)
    assert presented is not None
    assert (presented.key_id, presented.livemode) == (key.id, False)
    assert key.public_id == public_id("key", key.id)
    assert issued.secret.startswith(f"{key.prefix}_")
    assert issued.secret.endswith(key.hint)
    assert (key.name, key.account_id, key.livemode) == ("Server", account.id, False)
    assert key.scopes == ("RUN_ACTIONS", "MANAGE_KEYS")
    assert key.allowed_actions == ("shout",)
    assert key.cidrs == ("203.0.113.0/24", "2001:db8::/32", "192.0.2.1/32")
    assert (key.cap_units, key.metadata, key.expires_at) == (
        0,
        {"team": "ä", "n": [1, {"deep": None}]},
        expires_at,
    )
    assert key.trusted_documents_only
    assert (key.status, key.revoked_at, key.last_used_at, key.epoch) == (KeyStatus.ACTIVE, None, None, 0)
    assert await keys.find(key.id) == key


async def test_the_secret_is_nowhere_but_in_the_answer(
    database: Database,
    keys: Keys,
    audit: Audit,
    account: Account,
    by: Actor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    issued = await keys.create(account.id, NewKey(name="k"), by=by)
    rotated = await keys.rotate(issued.key.id, grace_seconds=60, by=by)
    tables = [
        f"{await database.fetch(f'SELECT t::text FROM {table} AS t')}"
        for table in ("api_key", "api_key_secret")
    ]
    talk = [repr(issued), repr(rotated), repr(await audit.entries()), caplog.text, *tables]
    for text in (issued.secret, rotated.secret):
        assert not any(text in said or text[31:64] in said for said in talk)


async def test_a_default_key_is_live_and_may_run_actions_and_read_usage(
    keys: Keys, account: Account, by: Actor
) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    assert (key.livemode, key.scopes, key.allowed_actions, key.cidrs) == (
        True,
        ("RUN_ACTIONS", "READ_USAGE"),
        None,
        (),
    )
    assert (key.cap_units, key.metadata, key.expires_at) == (None, {}, None)
    assert not key.trusted_documents_only


async def test_a_creation_leaves_an_audit_entry(
    keys: Keys, audit: Audit, account: Account, by: Actor
) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    (entry,) = await audit.entries(target_id=key.public_id)
    assert (entry.verb, entry.actor, entry.before) == ("staff:key:created", by, None)
    assert entry.after is not None
    assert (entry.after["name"], entry.after["hint"], entry.after["status"]) == ("k", key.hint, "ACTIVE")


BAD: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "  "},
    {"name": "x" * 201},
    {"name": "a\0b"},
    {"name": "\ud800"},
    {"scopes": ("run",)},
    {"scopes": ("A\0",)},
    {"scopes": ("A" * 64,)},
    {"scopes": ("UNKNOWN",)},
    {"scopes": tuple(f"S{n}" for n in range(201))},
    {"allowed_actions": ("",)},
    {"allowed_actions": ("a\0",)},
    {"allowed_actions": tuple(f"a{n}" for n in range(201))},
    {"cidrs": ("everywhere",)},
    {"cidrs": ("10.0.0.1/8",)},
    {"cidrs": ("10.0.0.0/33",)},
    {"cidrs": ("fe80::1%eth0/64",)},
    {"cidrs": ("10.0.0.0/8\0",)},
    {"cidrs": ("1" * 1_000_000,)},
    {"cidrs": ("",)},
    {"cap_units": -1},
    {"cap_units": 2**63},
    {"metadata": {"x": "y" * 4_096}},
    {"metadata": {"x": "a\0b"}},
    {"metadata": {"a\0b": 1}},
    {"metadata": {"x": "\ud800"}},
    {"metadata": {"x": 2**200}},
    {"metadata": {"x": object()}},
    {"metadata": {1: 2}},
    {"metadata": [1]},
    {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
    {"expires_at": datetime(2100, 1, 1)},
]


@pytest.mark.parametrize("wrong", BAD, ids=lambda wrong: repr(wrong)[:40])
async def test_a_bad_request_makes_no_key_and_leaves_no_trace(
    keys: Keys, audit: Audit, account: Account, by: Actor, wrong: dict[str, Any]
) -> None:
    entries = await audit.entries()
    known = frozenset({"RUN_ACTIONS", "READ_USAGE"} | {f"S{n}" for n in range(201)})
    with pytest.raises(BadUserInput):
        await keys.create(account.id, NewKey(**{"name": "k", **wrong}), by=by, known_scopes=known)
    assert (await keys.list()).total_count == 0
    assert await audit.entries() == entries


async def test_a_written_backslash_is_no_nul(keys: Keys, account: Account, by: Actor) -> None:
    metadata = {"pattern": "\\u0000", "path": "C:\\"}
    key = (await keys.create(account.id, NewKey(name="k", metadata=metadata), by=by)).key
    assert key.metadata == metadata


async def test_an_unknown_account_gets_no_key(keys: Keys, by: Actor) -> None:
    with pytest.raises(NotFound):
        await keys.create(uuid7(), NewKey(name="k"), by=by)


async def test_a_suspended_account_may_get_keys(
    keys: Keys, accounts: Accounts, account: Account, by: Actor
) -> None:
    await accounts.suspend(account.id, reason="unpaid", by=by)
    assert (await keys.create(account.id, NewKey(name="k"), by=by)).key.status is KeyStatus.ACTIVE


async def test_fifty_racers_for_ten_keys_get_exactly_ten(
    database: Database, keys: Keys, audit: Audit, account: Account, by: Actor
) -> None:
    results = await asyncio.gather(
        *(keys.create(account.id, NewKey(name=f"k{n}"), by=by) for n in range(50)), return_exceptions=True
    )
    assert sum(isinstance(result, IssuedKey) for result in results) == 10
    assert sum(isinstance(result, LimitReached) for result in results) == 40
    assert (await keys.list()).total_count == 10
    assert await database.fetchval("SELECT count(*) FROM api_key_secret") == 10
    assert await database.fetchval("SELECT count(*) FROM audit_entry WHERE verb = 'staff:key:created'") == 10


async def test_a_revoked_key_makes_room_and_a_suspended_or_expired_one_does_not(
    keys: Keys, account: Account, by: Actor, move_time: MoveTime
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = [(await keys.create(account.id, NewKey(name="k", expires_at=soon), by=by)).key for _ in range(10)]
    await keys.suspend(made[0].id, by=by)
    await move_time("2 hours")
    with pytest.raises(LimitReached, match="10 keys"):
        await keys.create(account.id, NewKey(name="k"), by=by)
    await keys.revoke(made[1].id, by=by)
    await keys.create(account.id, NewKey(name="k"), by=by)
    with pytest.raises(LimitReached):
        await keys.create(account.id, NewKey(name="k"), by=by)


@pytest.mark.parametrize("state", KeyStatus)
@pytest.mark.parametrize("verb", KeyVerb)
async def test_every_state_takes_the_verbs_it_allows_and_names_them_otherwise(
    database: Database,
    keys: Keys,
    audit: Audit,
    account: Account,
    by: Actor,
    move_time: MoveTime,
    state: KeyStatus,
    verb: KeyVerb,
) -> None:
    key = await key_in(state, keys, account, by, move_time)
    assert key.status is state
    entries, epoch = await audit.entries(), await current_epoch(database)
    if verb not in ALLOWED[state]:
        with pytest.raises(InvalidState) as refusal:
            await verbs(keys)[verb](key.id, by=by)
        assert refusal.value.allowed == tuple(verb.value for verb in ALLOWED[state])
        assert refusal.value.extensions["state"] == state.value
        assert await keys.find(key.id) == key
        assert (await audit.entries(), await current_epoch(database)) == (entries, epoch)
        return
    await verbs(keys)[verb](key.id, by=by)
    changed = await keys.find(key.id)
    assert changed.epoch == await current_epoch(database) == epoch + 1
    expected = {"suspend": "SUSPENDED", "resume": "ACTIVE", "revoke": "REVOKED", "rotate": "ACTIVE"}
    assert changed.status.value == expected[verb.value]
    assert (changed.revoked_at is not None) == (verb is KeyVerb.REVOKE)
    done = {"suspend": "suspended", "resume": "resumed", "revoke": "revoked", "rotate": "rotated"}
    assert (await audit.entries(limit=1))[0].verb == f"staff:key:{done[verb.value]}"


def test_the_lifecycle_is_the_one_that_is_promised() -> None:
    assert {state.value: [verb.value for verb in allowed] for state, allowed in ALLOWED.items()} == {
        "ACTIVE": ["suspend", "revoke", "rotate"],
        "SUSPENDED": ["resume", "revoke"],
        "EXPIRED": ["revoke"],
        "REVOKED": [],
    }


async def test_a_transition_says_what_stood_before_and_after_and_why(
    keys: Keys, audit: Audit, account: Account, by: Actor
) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    suspended = await keys.suspend(key.id, by=by, reason=" leaked? ")
    assert suspended.suspended_reason == "leaked?"
    (entry,) = await audit.entries(target_id=key.public_id, limit=1)
    assert (entry.before, entry.after) == ({"status": "ACTIVE"}, {"status": "SUSPENDED", "reason": "leaked?"})
    assert (await keys.resume(key.id, by=by)).suspended_reason is None


async def test_a_bad_reason_changes_nothing(keys: Keys, account: Account, by: Actor) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    for reason in ("x" * 501, "a\0b", "\ud800"):
        with pytest.raises(BadUserInput):
            await keys.revoke(key.id, by=by, reason=reason)
    assert await keys.find(key.id) == key


async def test_a_transition_that_rolls_back_leaves_no_entry(
    database: Database, keys: Keys, audit: Audit, account: Account, by: Actor
) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    entries = await audit.entries()

    async def fail() -> None:
        async with database.transaction():
            await keys.revoke(key.id, by=by)
            await keys.create(account.id, NewKey(name="another"), by=by)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await keys.find(key.id) == key
    assert (await keys.list()).total_count == 1
    assert await audit.entries() == entries


async def test_racers_revoke_a_key_once(keys: Keys, audit: Audit, account: Account, by: Actor) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    results = await asyncio.gather(*(keys.revoke(key.id, by=by) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(result, Key) for result in results) == 1
    assert sum(isinstance(result, InvalidState) for result in results) == 9
    assert len(await audit.entries(target_id=key.public_id)) == 2


async def test_a_transition_waits_for_the_batch_of_the_ledger_that_holds_its_account(
    ledger: asyncpg.Connection, keys: Keys, account: Account, by: Actor
) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    async with ledger.transaction():
        await ledger.execute(
            "SELECT pg_advisory_xact_lock_shared(hashtextextended($1::uuid::text, 0))", account.id
        )
        revoke = asyncio.create_task(keys.revoke(key.id, by=by))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(5):
            while not await ledger.fetchval(waiting):
                await asyncio.sleep(0.01)
        assert (await keys.find(key.id)).status is KeyStatus.ACTIVE
        assert not revoke.done()
    assert (await revoke).status is KeyStatus.REVOKED


@pytest.mark.parametrize("verb", ["find", *KeyVerb])
async def test_hidden_and_missing_keys_answer_alike(
    keys: Keys, account: Account, other: Account, by: Actor, verb: str
) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    act: Verb = keys.find if verb == "find" else verbs(keys)[KeyVerb(verb)]
    arguments: dict[str, Any] = {} if verb == "find" else {"by": by}
    answers = []
    for key_id, account_id in ((key.id, other.id), (uuid7(), other.id), (uuid7(), None)):
        with pytest.raises(NotFound) as refusal:
            await act(key_id, account_id=account_id, **arguments)
        answers.append((type(refusal.value), refusal.value.message, refusal.value.extensions))
    assert answers[0] == answers[1] == answers[2]
    assert await keys.find(key.id, account_id=account.id) == key


async def test_rotation_keeps_the_id_and_ends_the_old_secret_at_once(
    keys: Keys, database: Database, audit: Audit, account: Account, by: Actor
) -> None:
    first = await keys.create(account.id, NewKey(name="k", cap_units=5), by=by)
    second = await keys.rotate(first.key.id, by=by)
    assert second.secret != first.secret
    assert second.key.id == first.key.id
    assert (second.key.cap_units, second.key.created_at) == (5, first.key.created_at)
    assert second.key.hint == second.secret[-4:]
    assert await database.fetchval("SELECT count(*) FROM api_key_secret") == 1
    (entry,) = await audit.entries(limit=1)
    assert entry.before == {"hint": first.key.hint}
    assert entry.after == {"hint": second.key.hint, "grace_seconds": 0}


async def test_at_most_five_secrets_are_in_their_grace(keys: Keys, account: Account, by: Actor) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    for _ in range(4):
        await keys.rotate(key.id, grace_seconds=3_600, by=by)
    with pytest.raises(LimitReached, match="grace"):
        await keys.rotate(key.id, grace_seconds=3_600, by=by)
    await keys.rotate(key.id, by=by)
    await keys.rotate(key.id, grace_seconds=3_600, by=by)


@pytest.mark.parametrize("grace_seconds", [-1, 90 * 86_400 + 1])
async def test_a_grace_out_of_range_changes_nothing(
    keys: Keys, account: Account, by: Actor, grace_seconds: int
) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    with pytest.raises(BadUserInput, match="grace"):
        await keys.rotate(key.id, grace_seconds=grace_seconds, by=by)
    assert await keys.find(key.id) == key


async def test_last_use_moves_forward_only_and_for_many_at_once(
    keys: Keys, account: Account, by: Actor
) -> None:
    one, two = [(await keys.create(account.id, NewKey(name="k"), by=by)).key.id for _ in range(2)]
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    await keys.touch({one: late, two: early, uuid7(): late})
    await keys.touch({one: early, two: late})
    await keys.touch({})
    assert [(await keys.find(key)).last_used_at for key in (one, two)] == [late, late]


async def test_a_list_is_paged_in_both_directions(
    keys: Keys, account: Account, other: Account, by: Actor
) -> None:
    made = [(await keys.create(account.id, NewKey(name=f"k{n}"), by=by)).key for n in range(5)]
    await keys.create(other.id, NewKey(name="theirs"), by=by)
    newest = sorted(made, key=lambda key: key.id, reverse=True)

    page = await keys.list(account_id=account.id)
    assert (list(page.keys), page.has_next, page.has_previous, page.total_count) == (newest, False, False, 5)
    page = await keys.list(account_id=account.id, first=2)
    assert (list(page.keys), page.has_next, page.has_previous, page.total_count) == (
        newest[:2],
        True,
        False,
        5,
    )
    page = await keys.list(account_id=account.id, first=2, after=newest[1].id)
    assert (list(page.keys), page.has_next, page.has_previous) == (newest[2:4], True, True)
    page = await keys.list(account_id=account.id, first=2, after=newest[3].id)
    assert (list(page.keys), page.has_next, page.has_previous) == (newest[4:], False, True)
    page = await keys.list(account_id=account.id, last=2)
    assert (list(page.keys), page.has_next, page.has_previous) == (newest[3:], False, True)
    page = await keys.list(account_id=account.id, last=2, before=newest[3].id)
    assert (list(page.keys), page.has_next, page.has_previous) == (newest[1:3], True, True)
    page = await keys.list(account_id=account.id, before=newest[1].id)
    assert (list(page.keys), page.has_next, page.has_previous) == (newest[:1], True, False)
    for nothing in ({"first": 0}, {"last": 0}):
        page = await keys.list(account_id=account.id, **nothing)
        assert (page.keys, page.total_count) == ((), 5)
    assert (await keys.list()).total_count == 6


async def test_a_list_is_filtered_by_the_state_that_the_clock_decides(
    keys: Keys, account: Account, by: Actor, move_time: MoveTime
) -> None:
    await key_in(KeyStatus.ACTIVE, keys, account, by, move_time)
    await key_in(KeyStatus.SUSPENDED, keys, account, by, move_time)
    await key_in(KeyStatus.REVOKED, keys, account, by, move_time)
    await key_in(KeyStatus.EXPIRED, keys, account, by, move_time)
    assert await keys.count_by_status() == dict.fromkeys(("ACTIVE", "SUSPENDED", "REVOKED", "EXPIRED"), 1)
    for state in KeyStatus:
        page = await keys.list(account_id=account.id, status=state)
        assert [key.status for key in page.keys] == [state]
        assert page.total_count == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"first": -1},
        {"last": -1},
        {"first": 501},
        {"first": 1, "last": 1},
        {"after": uuid7(), "last": 1},
        {"first": 1, "before": uuid7()},
        {"after": uuid7(), "before": uuid7()},
    ],
    ids=lambda arguments: " ".join(arguments),
)
async def test_a_page_that_makes_no_sense_is_refused(keys: Keys, arguments: dict[str, Any]) -> None:
    with pytest.raises(BadUserInput):
        await keys.list(**arguments)


def test_a_refusal_is_of_the_projects_own_kind() -> None:
    assert issubclass(ScopeNotGranted, ApiFactoryError)
    assert (ScopeNotGranted.code, ScopeNotGranted.status) == ("FORBIDDEN", 403)
