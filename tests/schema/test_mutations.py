"""Keys managed by a key: its authority ends when it ends, and what it may not reach stays as it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api_factory.audit import Actor

MANAGER = ("RUN_ACTIONS", "READ_USAGE", "MANAGE_KEYS")
BY = Actor("cli", "tests")
CREATE = (
    "mutation($i: CreateKeyInput!) { createKey(input: $i)"
    " { apiKey { id } secret userErrors { code message field } } }"
)
CHANGE = (
    "mutation($id: ID!) {{ {verb}(input: {{id: $id}})"
    " {{ apiKey {{ id status }} userErrors {{ code message field }} }} }}"
)
CALL = '{ echo(text: "x") }'
VERBS = ("rotateKey", "suspendKey", "resumeKey", "revokeKey")


async def change(house: Any, verb: str, target: Any, key: Any) -> Any:
    return (await house.data(CHANGE.format(verb=verb), {"id": target.key.public_id}, key=key))[verb]


async def key_count(house: Any) -> int:
    return int(await house.engine.db.fetchval("SELECT count(*) FROM api_key"))


@pytest.mark.parametrize("verb", VERBS)
async def test_no_verb_reaches_the_key_of_another_account(house: Any, verb: str) -> None:
    mine, theirs = await house.account(), await house.account("other@example.test")
    key, foreign = await house.key(mine, *MANAGER), await house.key(theirs)
    if verb == "resumeKey":
        await house.engine.keys.suspend(foreign.key.id, by=Actor("key", "another"))
    before = await house.engine.keys.find(foreign.key.id)
    payload = await change(house, verb, foreign, key)
    assert payload["apiKey"] is None
    assert [(each["code"], each["field"]) for each in payload["userErrors"]] == [
        ("NOT_FOUND", ["input", "id"])
    ]
    assert await house.engine.keys.find(foreign.key.id) == before
    if verb != "resumeKey":
        assert await house.data(CALL, key=foreign) == {"echo": "x"}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_test_key_finds_no_live_key(house: Any, verb: str) -> None:
    account = await house.account()
    key, live = await house.key(account, *MANAGER, livemode=False), await house.key(account)
    payload = await change(house, verb, live, key)
    assert [each["code"] for each in payload["userErrors"]] == ["NOT_FOUND"]
    assert await house.data(CALL, key=live) == {"echo": "x"}


@pytest.mark.parametrize(
    ("bounds", "wish"),
    [
        ({"livemode": False}, {}),
        ({"allowed_actions": ("echo",)}, {"allowedActions": ["echo", "greet"]}),
        ({"cidrs": ("127.0.0.0/8",)}, {"cidrs": ["0.0.0.0/0"]}),
        ({"cap_units": 5}, {"capUnits": 6}),
    ],
)
async def test_a_key_makes_none_that_is_wider_than_itself(
    house: Any, bounds: dict[str, Any], wish: dict[str, Any]
) -> None:
    key = await house.key(await house.account(), *MANAGER, **bounds)
    payload = (await house.data(CREATE, {"i": {"name": "wide", **wish}}, key=key))["createKey"]
    assert (payload["apiKey"], payload["secret"]) == (None, None)
    (error,) = payload["userErrors"]
    assert error["code"] == "SCOPE_NOT_GRANTED"
    assert "further than the acting one" in error["message"]
    assert await key_count(house) == 1


async def test_a_key_cannot_undo_what_its_operator_did(house: Any) -> None:
    account = await house.account()
    key, other = await house.key(account, *MANAGER), await house.key(account)
    await house.engine.keys.suspend(other.key.id, by=BY)
    payload = await change(house, "resumeKey", other, key)
    assert [each["code"] for each in payload["userErrors"]] == ["INVALID_STATE"]
    assert (await house.engine.keys.find(other.key.id)).status == "SUSPENDED"


async def test_a_key_that_ends_itself_does_nothing_after_it(house: Any) -> None:
    account = await house.account()
    key = await house.key(account, *MANAGER)
    reply = await house.post(
        "mutation($id: ID!) { revokeKey(input: {id: $id}) { apiKey { status } }"
        ' createKey(input: {name: "survivor"}) { secret } }',
        {"id": key.key.public_id},
        key=key,
    )
    (error,) = reply.json()["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["createKey"], "UNAUTHENTICATED")
    assert await key_count(house) == 1


async def test_a_key_revoked_while_its_operation_runs_leaves_no_key_behind(house: Any) -> None:
    account = await house.account()
    key = await house.key(account, *MANAGER)
    db = house.engine.db
    blocker = await db.connect()
    async with blocker.transaction():
        # Somebody else holds the account: the creation has passed the guard and waits for the mutex.
        await blocker.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))", account.id)
        creation = asyncio.create_task(house.post(CREATE, {"i": {"name": "survivor"}}, key=key))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(30):
            while not await blocker.fetchval(waiting):
                await asyncio.sleep(0.01)
        await blocker.execute("UPDATE api_key SET status = 'REVOKED', revoked_at = af_now()")
    await blocker.close()
    (error,) = (await creation).json()["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert await key_count(house) == 1


async def test_a_plan_without_the_scope_hides_the_other_keys_everywhere(house: Any) -> None:
    account = await house.account()
    key, other = await house.key(account, *MANAGER), await house.key(account)
    await house.engine.db.execute("UPDATE plan SET scopes = '{RUN_ACTIONS,READ_USAGE}'")
    house.engine.key_cache.invalidate(key.key.id)
    node = "query($id: ID!) { node(id: $id) { id } }"
    assert (await house.post("{ apiKeys { totalCount } }", key=key)).status_code == 403
    assert (await house.post(CREATE, {"i": {"name": "x"}}, key=key)).status_code == 403
    assert await house.data(node, {"id": other.key.public_id}, key=key) == {"node": None}
    own = await house.data(node, {"id": key.key.public_id}, key=key)
    assert own == {"node": {"id": key.key.public_id}}
