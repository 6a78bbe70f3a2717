"""The server's own fields over a whole engine: an account sees and manages its own, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from schema.http import GraphQLHTTP

KEY_FIELDS = (
    "id name prefix hint status suspendedReason livemode scopes allowedActions cidrs capUnits metadata"
    " createdAt expiresAt revokedAt lastUsedAt"
)
CREATE = (
    f"mutation($input: CreateKeyInput!) {{ createKey(input: $input) {{ apiKey {{ {KEY_FIELDS} }}"
    " secret userErrors { code message field } } }"
)
CHANGE = (
    "mutation($id: ID!) {{ {verb}(input: {{id: $id}})"
    " {{ apiKey {{ id status }} userErrors {{ code message field }} }} }}"
)
ROTATE = (
    "mutation($i: RotateKeyInput!) { rotateKey(input: $i)"
    " { apiKey { id hint } secret userErrors { code field } } }"
)
USAGE = (
    "query($f: UsageFilter, $g: UsageGranularity! = DAY)"
    " { usage(filter: $f, granularity: $g) { units buckets { start action } } }"
)
NODE = (
    "query($id: ID!) { node(id: $id)"
    " { __typename id ... on ApiKey { name scopes } ... on Viewer { email } } }"
)
LIMITS = (
    "{ rateLimit { cost used remaining resetAt policy { name limit window }"
    ' windows { remaining policy { name } } } echo(text: "x") }'
)
CATALOGUE = (
    "{ plans { id name price { amount currency } interval units rateLimits { name limit window } }"
    ' action(name: "greet") { id name field kind description signature cost scopes deprecationReason'
    ' example rateLimits { name limit window } } other: action(name: "mangledRefusal") { name }'
    ' none: action(name: "x") { id } }'
)
PAGE = (
    "query($first: Int, $after: String, $last: Int, $before: String)"
    " {{ list: {field}(first: $first, after: $after, last: $last, before: $before)"
    " {{ nodes {{ id }} edges {{ cursor node {{ id }} }} totalCount"
    " pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
)
MANAGER = ("RUN_ACTIONS", "READ_USAGE", "MANAGE_KEYS")


async def test_a_call_is_charged_and_the_viewer_and_the_usage_agree(house: Any) -> None:
    account = await house.account(name="Ada", quota_units=100)
    key = await house.key(account)
    reply = await house.post(
        '{ a: echo(text: "1") b: echo(text: "2") refuse greet(recipient: {fullName: "x"}) { textSaid } }',
        key=key,
    )
    assert reply.headers["ratelimit"].endswith(
        '"quota";r=95;t=' + reply.headers["ratelimit"].rpartition("=")[2]
    )
    data = await house.data(
        "{ viewer { __typename id name email apiKey { id name lastUsedAt } plan { id } quota"
        " { included used reserved remaining periodStart periodEnd } }"
        " usage { calls errors units buckets { action calls errors units } } }",
        key=key,
    )
    quota = data["viewer"].pop("quota")
    assert {name: quota[name] for name in ("included", "used", "reserved", "remaining")} == {
        "included": 100,
        "used": 5,
        "reserved": 0,
        "remaining": 95,
    }
    assert quota["periodStart"] < datetime.now(UTC).isoformat() < quota["periodEnd"]
    assert data["viewer"] == {
        "__typename": "Viewer",
        "id": account.public_id,
        "name": "Ada",
        "email": "somebody@example.test",
        "apiKey": {"id": key.key.public_id, "name": "a key", "lastUsedAt": None},
        "plan": {"id": "plan_free"},
    }
    buckets = {each["action"]: each for each in data["usage"].pop("buckets")}
    assert data["usage"] == {"calls": 4, "errors": 1, "units": 5}
    assert buckets["echo"] == {"action": "echo", "calls": 2, "errors": 0, "units": 2}
    assert buckets["refuse"] == {"action": "refuse", "calls": 1, "errors": 1, "units": 0}


async def test_usage_can_be_narrowed_and_never_shows_another_account(house: Any) -> None:
    mine, other = await house.account(), await house.account("other@example.test")
    first, second, foreign = await house.key(mine), await house.key(mine), await house.key(other)
    for key in (first, second, second, foreign):
        await house.data('{ echo(text: "x") }', key=key)
    await house.data('{ greet(recipient: {fullName: "x"}) { textSaid } }', key=first)

    async def units(**only: Any) -> int:
        data = await house.data(USAGE, {"f": only}, key=first)
        return int(data["usage"]["units"])

    assert await units() == 6
    assert await units(actions=["echo"]) == 3
    assert await units(actions=["nothing"]) == 0
    assert await units(apiKeyIds=[second.key.public_id]) == 2
    assert await units(apiKeyIds=[foreign.key.public_id]) == 0
    now = datetime.now(UTC)
    assert (
        await units(
            since=(now - timedelta(hours=1)).isoformat(), until=(now + timedelta(hours=1)).isoformat()
        )
        == 6
    )
    assert (
        await units(until=(now - timedelta(days=1)).isoformat(), since=(now - timedelta(days=2)).isoformat())
        == 0
    )
    for wrong in (
        {"apiKeyIds": ["acc_1"]},
        {"since": now.isoformat(), "until": now.isoformat()},
    ):
        reply = await house.post(USAGE, {"f": wrong}, key=first)
        assert reply.status_code == 400
        assert reply.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_moment_that_utc_cannot_express_is_bad_input(house: Any, moment: str) -> None:
    key = await house.key(await house.account(), *MANAGER)
    for query, variables in (
        (USAGE, {"f": {"since": moment}}),
        (USAGE, {"f": {"until": moment}}),
        (CREATE, {"input": {"name": "x", "expiresAt": moment}}),
    ):
        reply = await house.post(query, variables, key=key)
        assert reply.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert reply.status_code == 400
    assert (await house.data("{ apiKeys { totalCount } }", key=key))["apiKeys"] == {"totalCount": 1}


async def test_a_mutation_whose_time_is_up_costs_what_it_did_and_holds_nothing(
    house: Any, guarded: Any
) -> None:
    key = await house.key(await house.account(quota_units=10))
    settings = house.engine.settings.model_copy(update={"operation_timeout_seconds": 2.0})
    hurried = GraphQLHTTP(replace(house.engine, settings=settings), guarded)
    query = 'mutation { a: write(what: "1") b: write(what: "2") c: writeSlowly }'
    async with httpx.AsyncClient(transport=httpx.ASGITransport(hurried), base_url="http://api.test") as http:
        reply = await http.post("/graphql", json={"query": query}, headers={"x-api-key": key.secret})
    assert (reply.status_code, reply.json()["data"]) == (200, {"a": "1", "b": "2", "c": None})
    quota = (await house.data("{ viewer { quota { used reserved } } }", key=key))["viewer"]["quota"]
    assert quota == {"used": 2, "reserved": 0}


async def test_usage_can_be_asked_for_sixty_times_a_minute(house: Any) -> None:
    key = await house.key(await house.account())
    query = "{" + " ".join(f"u{number}: usage {{ units }}" for number in range(20)) + "}"
    for _ in range(3):
        await house.data(query, key=key)
    reply = await house.post("{ usage { units } }", key=key)
    assert reply.status_code == 429
    assert reply.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_the_plans_are_read_once_for_everybody_who_asks_within_a_second(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    really = house.engine.plans.list

    async def counted() -> Any:
        nonlocal read
        read += 1
        return await really()

    monkeypatch.setattr(house.engine.plans, "list", counted)
    query = "{" + " ".join(f"p{number}: plans {{ id }}" for number in range(20)) + "}"
    data = await house.data(query)
    assert data["p0"] == data["p19"] != []
    assert read == 1


async def test_the_rate_limit_field_shows_every_window_the_tightest_first(house: Any) -> None:
    key = await house.key(await house.account(rate="5/minute;1000/hour"))
    data = await house.data(LIMITS, key=key)
    status = data["rateLimit"]
    assert status["policy"]["limit"] == 5
    assert (status["used"] + status["remaining"], status["cost"], status["policy"]["window"]) == (5, 1, 60)
    assert len(status["windows"]) == 2
    assert status["windows"][0]["remaining"] == status["remaining"]


async def test_the_catalogue_and_the_plans_are_for_everybody(house: Any) -> None:
    data = await house.data(CATALOGUE)
    assert data["plans"][0]["id"] == "plan_free"
    assert data["plans"][0]["price"] == {"amount": 0, "currency": "USD"}
    assert data["action"]["rateLimits"] == [
        {"name": "second", "limit": 10, "window": 1},
        {"name": "minute", "limit": 100, "window": 60},
    ]
    assert (data["action"]["cost"], data["action"]["scopes"], data["action"]["kind"]) == (
        3,
        ["RUN_ACTIONS"],
        "QUERY",
    )
    assert "@cost(weight: 3)" in data["action"]["signature"]
    assert (data["other"]["name"], data["none"]) == ("mangled_refusal", None)


@pytest.mark.parametrize(("field", "most"), [("actions", 19), ("apiKeys", 5)])
async def test_a_list_is_paged_forwards_and_backwards_without_a_gap(
    house: Any, field: str, most: int
) -> None:
    account = await house.account()
    issued = [await house.key(account, *MANAGER) for _ in range(5)]

    async def page(**arguments: Any) -> Any:
        return (await house.data(PAGE.format(field=field), arguments, key=issued[0]))["list"]

    whole = await page(first=100)
    everything = [each["id"] for each in whole["nodes"]]
    assert (len(everything), whole["totalCount"], whole["pageInfo"]["hasNextPage"]) == (most, most, False)
    assert everything == [each["node"]["id"] for each in whole["edges"]]
    forwards: list[str] = []
    arguments: dict[str, Any] = {"first": 2}
    for _ in range(most):
        found = await page(**arguments)
        assert found["pageInfo"]["hasPreviousPage"] is bool(forwards)
        forwards += [each["id"] for each in found["nodes"]]
        arguments["after"] = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert forwards == everything
    backwards: list[str] = []
    arguments = {"last": 2}
    for _ in range(most):
        found = await page(**arguments)
        assert found["pageInfo"]["hasNextPage"] is bool(backwards)
        backwards = [each["id"] for each in found["nodes"]] + backwards
        arguments["before"] = found["pageInfo"]["startCursor"]
        if not found["pageInfo"]["hasPreviousPage"]:
            break
    assert backwards == everything
    empty = await page(first=2, after=whole["pageInfo"]["endCursor"])
    assert (empty["nodes"], empty["pageInfo"]["endCursor"]) == ([], None)


@pytest.mark.parametrize(
    "arguments",
    [
        "first: 0",
        "first: 101",
        "first: -1",
        "last: 0",
        "first: 1, last: 1",
        'first: 1, before: "x"',
        'after: "x"',
        'after: "§"',
        'after: ""',
        'after: "Y3Vyc29yOm5vdGhpbmc="',
        'before: "Y3Vyc29y"',
        'after: "//79"',
    ],
)
@pytest.mark.parametrize("field", ["actions", "apiKeys"])
async def test_a_page_that_cannot_be_is_bad_input(house: Any, field: str, arguments: str) -> None:
    key = await house.key(await house.account(), *MANAGER)
    reply = await house.post(f"{{ {field}({arguments}) {{ totalCount }} }}", key=key)
    assert reply.status_code == 400, reply.text
    assert reply.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_keys_can_be_listed_by_status(house: Any) -> None:
    account = await house.account()
    key, other = await house.key(account, *MANAGER), await house.key(account)
    await house.data(CHANGE.format(verb="suspendKey"), {"id": other.key.public_id}, key=key)
    data = await house.data("{ apiKeys(status: SUSPENDED) { nodes { id status } totalCount } }", key=key)
    assert data["apiKeys"] == {"nodes": [{"id": other.key.public_id, "status": "SUSPENDED"}], "totalCount": 1}


async def test_a_key_is_created_with_all_it_may_have_and_its_secret_works(house: Any) -> None:
    key = await house.key(await house.account(), *MANAGER)
    wanted = {
        "name": "deploy",
        "scopes": ["RUN_ACTIONS"],
        "allowedActions": ["echo"],
        "cidrs": ["127.0.0.0/8"],
        "capUnits": 2**40,
        "metadata": {"team": ["a", 1]},
        "livemode": False,
        "expiresAt": "2099-01-01T00:00:00+00:00",
    }
    payload = (await house.data(CREATE, {"input": wanted}, key=key))["createKey"]
    assert payload["userErrors"] == []
    assert {name: payload["apiKey"][name] for name in wanted} == wanted
    assert payload["secret"].startswith(payload["apiKey"]["prefix"])
    assert payload["secret"].endswith(payload["apiKey"]["hint"])
    assert payload["apiKey"]["prefix"].startswith("af_test_")

    class Issued:
        secret = payload["secret"]

    assert await house.data('{ echo(text: "x") }', key=Issued) == {"echo": "x"}
    plain = (await house.data(CREATE, {"input": {"name": "plain"}}, key=key))["createKey"]["apiKey"]
    assert (plain["scopes"], plain["livemode"], plain["metadata"]) == (
        ["RUN_ACTIONS", "READ_USAGE"],
        True,
        {},
    )
    entries = await house.engine.audit.entries(target_id=plain["id"])
    assert [(each.verb, each.actor.id) for each in entries] == [("key:key:created", key.key.public_id)]
    assert entries[0].actor.request_id


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"name": ""}, "INVALID_INPUT"),
        ({"name": "a\u0000"}, "INVALID_INPUT"),
        ({"name": "x", "cidrs": ["nowhere"]}, "INVALID_INPUT"),
        ({"name": "x", "capUnits": -1}, "INVALID_INPUT"),
        ({"name": "x", "metadata": [["a", 1]]}, "INVALID_INPUT"),
        ({"name": "x", "metadata": "text"}, "INVALID_INPUT"),
        ({"name": "x", "expiresAt": "2001-01-01T00:00:00Z"}, "INVALID_INPUT"),
        ({"name": "x", "scopes": ["MANAGE_BILLING"]}, "SCOPE_NOT_GRANTED"),
        ({"name": "x", "scopes": ["READ_REPORTS", "RUN_ACTIONS"]}, "SCOPE_NOT_GRANTED"),
    ],
)
async def test_what_a_person_can_mend_is_a_user_error_and_nothing_is_created(
    house: Any, wrong: dict[str, Any], code: str
) -> None:
    key = await house.key(await house.account(), *MANAGER)
    payload = (await house.data(CREATE, {"input": wrong}, key=key))["createKey"]
    assert (payload["apiKey"], payload["secret"]) == (None, None)
    (error,) = payload["userErrors"]
    assert error["code"] == code
    assert error["message"].endswith(".")
    assert (await house.data("{ apiKeys { totalCount } }", key=key))["apiKeys"] == {"totalCount": 1}


async def test_a_key_walks_through_its_states_and_an_illegal_step_names_the_legal_ones(house: Any) -> None:
    account = await house.account()
    key, other = await house.key(account, *MANAGER), await house.key(account)
    shown = {"id": other.key.public_id}
    for verb, status in (("suspendKey", "SUSPENDED"), ("resumeKey", "ACTIVE"), ("revokeKey", "REVOKED")):
        payload = (await house.data(CHANGE.format(verb=verb), shown, key=key))[verb]
        assert payload == {"apiKey": {"id": other.key.public_id, "status": status}, "userErrors": []}
    (error,) = (await house.data(CHANGE.format(verb="resumeKey"), shown, key=key))["resumeKey"]["userErrors"]
    assert (error["code"], error["field"]) == ("INVALID_STATE", None)
    assert "final" in error["message"]
    assert (await house.post('{ echo(text: "x") }', key=other)).status_code == 401


async def test_a_rotated_key_keeps_its_id_and_only_the_new_secret(house: Any) -> None:
    account = await house.account()
    key, other = await house.key(account, *MANAGER), await house.key(account)
    payload = (await house.data(ROTATE, {"i": {"id": other.key.public_id}}, key=key))["rotateKey"]
    assert (payload["apiKey"]["id"], payload["userErrors"]) == (other.key.public_id, [])
    assert payload["secret"].endswith(payload["apiKey"]["hint"])
    assert (await house.post("{ ping }", key=other)).status_code == 401
    for wrong in ({"id": other.key.public_id, "graceSeconds": -1}, {"id": "key_nothing"}):
        payload = (await house.data(ROTATE, {"i": wrong}, key=key))["rotateKey"]
        assert (payload["apiKey"], payload["secret"], len(payload["userErrors"])) == (None, None, 1)


async def test_a_foreign_key_and_a_missing_one_answer_alike(house: Any) -> None:
    mine, other = await house.account(), await house.account("other@example.test")
    key, foreign = await house.key(mine, *MANAGER), await house.key(other)
    answers = []
    for key_id in (foreign.key.public_id, "key_" + "0" * 22, "key_x", "acc_1", ""):
        found = {}
        for verb in ("suspendKey", "resumeKey", "revokeKey"):
            found[verb] = (await house.data(CHANGE.format(verb=verb), {"id": key_id}, key=key))[verb]
            assert found[verb]["userErrors"][0]["code"] == "NOT_FOUND"
            assert found[verb]["userErrors"][0]["field"] == ["input", "id"]
        found["node"] = await house.data("query($id: ID!) { node(id: $id) { id } }", {"id": key_id}, key=key)
        answers.append(found)
    assert all(each == answers[0] for each in answers)
    assert answers[0]["node"] == {"node": None}
    assert (await house.engine.keys.find(foreign.key.id)).status == "ACTIVE"


async def test_a_node_is_found_by_its_prefix_and_only_by_those_who_may(house: Any) -> None:
    account = await house.account()
    manager, runner = await house.key(account, *MANAGER), await house.key(account, "RUN_ACTIONS")

    async def kind(node_id: str, key: Any) -> str | None:
        node = (await house.data(NODE, {"id": node_id}, key=key))["node"]
        return None if node is None else str(node["__typename"])

    for key in (manager, runner):
        assert await kind(account.public_id, key) == "Viewer"
        assert await kind(key.key.public_id, key) == "ApiKey"
        assert await kind("act_echo", key) == "Action"
        assert await kind("plan_pro", key) == "Plan"
        for nothing in ("act_x", "plan_x", "plan_a\u0000", "acc_" + "0" * 22, "nothing_1", "", "x"):
            assert await kind(nothing, key) is None
    assert await kind(runner.key.public_id, manager) == "ApiKey"
    assert await kind(manager.key.public_id, runner) is None


async def test_without_the_scope_nothing_of_the_keys_is_told(house: Any) -> None:
    key = await house.key(await house.account())
    for query in ("{ apiKeys { totalCount } }", 'mutation { revokeKey(input: {id: "x"}) { apiKey { id } } }'):
        reply = await house.post(query, key=key)
        assert reply.status_code == 403
        assert reply.json()["errors"][0]["extensions"]["requiredScopes"] == ["MANAGE_KEYS"]


async def test_a_scope_that_is_no_longer_served_does_not_hide_the_key(house: Any) -> None:
    account = await house.account()
    key = await house.key(account, "MANAGE_KEYS", "OLD_SCOPE")
    data = await house.data("{ viewer { apiKey { scopes } } }", key=key)
    assert data["viewer"]["apiKey"]["scopes"] == ["MANAGE_KEYS"]


async def test_a_plan_without_limits_has_no_rate_limit_to_show(house: Any) -> None:
    account = await house.account()
    key = await house.key(account)
    await house.engine.db.execute("UPDATE plan SET rate = ''")
    await house.engine.db.execute("UPDATE account SET rate = NULL")
    house.engine.key_cache.invalidate(key.key.id)
    assert await house.data("{ rateLimit { remaining } }", key=key) == {"rateLimit": None}
