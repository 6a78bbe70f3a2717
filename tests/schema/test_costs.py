"""The cost of an operation, beside its result, for clients that ask for it."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
CALLS = '{ a: echo(text: "1") b: echo(text: "2") refuse greet(recipient: {fullName: "x"}) { textSaid } }'


async def post(house: Any, query: str, cost: Any, *, key: Any = None, **headers: str) -> httpx.Response:
    """Send an operation and what it asks about its cost."""
    sent = {"accept": GRAPHQL, **headers} | ({} if key is None else {"x-api-key": key.secret})
    body = {"query": query, "extensions": {"cost": cost}}
    return await house.http.post("/graphql", json=body, headers=sent)


async def used(house: Any, account: Any) -> tuple[int, int]:
    """Return what is used and reserved."""
    standing = await house.engine.usage.standing(account.id)
    return standing.used, standing.reserved


async def test_what_is_charged_is_told_beside_the_result(house: Any) -> None:
    account = await house.account(rate="50/minute;1000/hour")
    key = await house.key(account)
    reply = await post(house, CALLS, True, key=key)
    assert reply.status_code == 200
    assert reply.json()["data"]["a"] == "1"
    assert len(reply.json()["errors"]) == 1
    cost = reply.json()["extensions"]["cost"]
    windows = cost.pop("rateLimits")
    # The refused call costs nothing.
    assert cost == {"requested": 6, "charged": 5, "maximum": 10_000, "calls": 4}
    assert await used(house, account) == (5, 0)
    named = {each["policy"]: (each["limit"], each["window"], each["remaining"]) for each in windows}
    assert named["minute"] == (50, 60, 46)
    assert named["hour"] == (1_000, 3_600, 996)
    assert all(each["resetSeconds"] >= 1 for each in windows)


@pytest.mark.parametrize("cost", [False, None, 1, "yes", {}, []])
async def test_who_does_not_ask_is_not_told(house: Any, cost: Any) -> None:
    reply = await post(house, "{ ping }", cost)
    assert reply.json() == {"data": {"ping": "pong"}}


async def test_a_free_operation_without_a_key_says_so(house: Any) -> None:
    reply = await post(house, "{ ping }", True)
    assert reply.json()["extensions"] == {
        "cost": {"requested": 0, "charged": 0, "maximum": 10_000, "calls": 1, "rateLimits": []}
    }


async def test_the_cost_is_asked_by_get_too(house: Any) -> None:
    parameters = {"query": "{ ping }", "extensions": orjson.dumps({"cost": True}).decode()}
    reply = await house.http.get("/graphql", params=parameters, headers={"accept": JSON})
    assert reply.json()["extensions"]["cost"]["charged"] == 0


async def test_a_retry_is_told_what_the_first_attempt_cost(house: Any) -> None:
    account = await house.account()
    key = await house.key(account)
    first = await post(house, '{ echo(text: "x") }', True, key=key, **{"idempotency-key": '"a"'})
    again = await post(house, '{ echo(text: "x") }', True, key=key, **{"idempotency-key": '"a"'})
    assert first.json()["extensions"]["cost"]["charged"] == 1
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert await used(house, account) == (1, 0)


async def test_a_dry_run_prices_and_neither_runs_nor_charges(house: Any, seen: list[Any]) -> None:
    account = await house.account(quota_units=3, rate="50/minute")
    key = await house.key(account, "RUN_ACTIONS", "MANAGE_KEYS")
    for query, requested in (
        (CALLS, 6),
        ('mutation { write(what: "x") writeSlowly }', 3),
        ('mutation { createKey(input: {name: "k"}) { secret } }', 0),
    ):
        reply = await post(house, query, "dryRun", key=key, **{"idempotency-key": '"a"'})
        assert (reply.status_code, reply.json()["data"]) == (200, {})
        cost = reply.json()["extensions"]["cost"]
        assert (cost["requested"], cost["charged"]) == (requested, 0)
        assert reply.headers["ratelimit"].startswith('"minute";r=')
    assert seen == []
    assert await used(house, account) == (0, 0)
    assert await house.engine.db.fetchval("SELECT count(*) FROM api_key") == 1
    assert await house.engine.db.fetchval("SELECT count(*) FROM usage_event") == 0
    assert await house.engine.db.fetchval("SELECT count(*) FROM idempotency") == 0
    # Three dry runs were three calls.
    assert (await post(house, "{ viewer { id } }", True, key=key)).json()["extensions"]["cost"]["rateLimits"][
        0
    ]["remaining"] == 46


async def test_a_dry_run_needs_the_right_that_the_operation_needs(house: Any) -> None:
    key = await house.key(await house.account(), "READ_USAGE")
    assert (await post(house, CALLS, "dryRun")).status_code == 401
    assert (await post(house, CALLS, "dryRun", key=key)).status_code == 403
    assert (await post(house, "{ nothing }", "dryRun", key=key)).status_code == 400
