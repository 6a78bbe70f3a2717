"""Calls of actions: what they get, what they give, what they are charged, and how they fail."""

from __future__ import annotations

from typing import Any

import pytest

KEY = "af_test_good"


async def test_each_field_is_one_call_and_all_are_settled_at_once(face: Any) -> None:
    data = await face.data('{ ping a: echo(text: "1") b: echo(text: "2") a: echo(text: "1") }')
    assert data == {"ping": "pong", "a": "1", "b": "2"}
    assert [action.name for action in face.guard.asks[0].calls] == ["ping", "echo", "echo"]
    assert face.guard.settled == [[True, True, True]]


async def test_a_failing_call_is_not_charged_and_leaves_its_siblings_alone(face: Any) -> None:
    reply = await face.post('{ refuse(reason: "x") echo(text: "1") }')
    assert reply.status_code == 200
    assert reply.json()["data"] == {"refuse": None, "echo": "1"}
    (error,) = reply.json()["errors"]
    assert error["message"] == "Refused: x"
    assert error["path"] == ["refuse"]
    assert error["locations"] == [{"line": 1, "column": 3}]
    assert error["extensions"]["code"] == "TEXT_REFUSED"
    assert error["extensions"]["limit"] == 7
    assert face.guard.settled == [[False, True]]


async def test_an_unexpected_failure_is_masked_and_logged(
    face: Any, logs_errors: None, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await face.post("{ crash }")
    assert reply.status_code == 200
    (error,) = reply.json()["errors"]
    assert error["message"].startswith("Something went wrong here")
    assert error["extensions"] == {"code": "INTERNAL", "requestId": reply.headers["x-request-id"]}
    assert "hunter2" not in reply.text
    assert "hunter2" in caplog.text
    assert face.guard.settled == [[False]]


async def test_a_refusal_of_the_engine_in_an_action_keeps_its_code(face: Any) -> None:
    (error,) = (await face.post("{ missing }")).json()["errors"]
    assert error["extensions"]["code"] == "NOT_FOUND"


async def test_an_int_beyond_32_bits_is_an_error_of_its_field(
    face: Any, logs_errors: None, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await face.post("{ count(upTo: 9000) ping }")
    assert reply.status_code == 200
    assert reply.json()["data"] == {"count": None, "ping": "pong"}
    (error,) = reply.json()["errors"]
    assert error["path"] == ["count"]
    assert error["extensions"] == {"code": "INTERNAL", "requestId": reply.headers["x-request-id"]}
    assert "9000000000" not in reply.text
    assert [each.levelname for each in caplog.records].count("ERROR") == 1
    assert "9000000000" in caplog.text
    assert face.guard.settled == [[False, True]]


async def test_what_does_not_fit_the_promised_type_is_masked(face: Any, logs_errors: None) -> None:
    reply = await face.post("{ lie { textSaid } ping }")
    assert reply.json()["data"] == {"lie": None, "ping": "pong"}
    assert reply.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "Traceback" not in reply.text
    assert "no greeting" not in reply.text


@pytest.mark.parametrize("kind", ["set", "surrogate", "big", "deep", "keys"])
async def test_json_that_cannot_be_written_is_an_error_of_its_field(
    face: Any, logs_errors: None, kind: str
) -> None:
    reply = await face.post(f'{{ odd(kind: "{kind}") ping }}')
    assert reply.status_code == 200
    assert reply.json()["data"] == {"odd": None, "ping": "pong"}
    assert reply.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert face.guard.settled == [[False, True]]


async def test_text_that_cannot_be_written_is_an_error_of_its_field(face: Any, logs_errors: None) -> None:
    reply = await face.post("{ mangled ping }")
    assert reply.status_code == 200
    assert reply.json()["data"] == {"mangled": None, "ping": "pong"}
    (error,) = reply.json()["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["mangled"], "INTERNAL")
    assert face.guard.settled == [[False, True]]


async def test_an_error_that_cannot_be_written_is_masked(face: Any) -> None:
    reply = await face.post("{ mangledRefusal ping }")
    assert reply.json()["data"] == {"mangledRefusal": None, "ping": "pong"}
    (error,) = reply.json()["errors"]
    assert error["extensions"]["code"] == "INTERNAL"


async def test_an_authors_check_of_his_own_class_reaches_the_client(face: Any) -> None:
    reply = await face.post('{ greet(recipient: {fullName: "nobody"}) { textSaid } }')
    (error,) = reply.json()["errors"]
    assert (error["message"], error["extensions"]["code"]) == ("Nobody cannot be greeted.", "NOBODY")
    assert face.guard.settled == [[False]]


async def test_mutations_run_one_after_the_other_and_a_failure_costs_only_itself(
    face: Any, seen: list[Any]
) -> None:
    reply = await face.post('mutation { a: write(what: "1") b: writeFails c: write(what: "2") }')
    assert reply.json()["data"] == {"a": "1", "b": None, "c": "2"}
    assert seen == [("1", "key_1"), "failed", ("2", "key_1")]
    assert face.guard.settled == [[True, False, True]]


async def test_a_null_variable_in_a_field_that_takes_none_is_the_clients_mistake(face: Any) -> None:
    reply = await face.post("query($n: Int) { see(whole: $n) ping }", {"n": None})
    assert reply.json()["data"] == {"see": None, "ping": "pong"}
    assert reply.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert face.guard.settled == [[False, True]]


async def test_variables_decide_on_every_request_anew(face: Any) -> None:
    query = 'query($on: Boolean!) { ping echo(text: "x") @include(if: $on) }'
    assert await face.data(query, {"on": False}) == {"ping": "pong"}
    assert await face.data(query, {"on": True}) == {"ping": "pong", "echo": "x"}
    assert [len(ask.calls) for ask in face.guard.asks] == [1, 2]


async def test_without_a_key_only_what_is_public_can_be_asked(face: Any) -> None:
    for query in ("{ ping }", "{ __typename }", '{ __type(name: "Query") { name kind __typename } }'):
        assert (await face.post(query, key=None)).status_code == 200
    for query in (
        "{ __schema { queryType { name } } }",
        '{ __type(name: "Query") { fields { name } } }',
        '{ __type(name: "Query") { ...F } } fragment F on __Type { fields { name } }',
        '{ ping echo(text: "x") }',
    ):
        reply = await face.post(query, key=None)
        assert (reply.status_code, "data" in reply.json()) == (401, False)
    assert (await face.post("{ __schema { queryType { name } } }")).status_code == 200


async def test_a_root_that_falls_takes_every_charge_with_it(face: Any) -> None:
    # The fake's admission knows no payer, so viewer fails where the schema allows no null.
    reply = await face.post('{ echo(text: "x") viewer { id } }')
    assert reply.json()["data"] is None
    assert reply.status_code == 401
    assert face.guard.settled == [[False]]


async def test_an_effect_is_charged_though_another_field_takes_the_data_with_it(
    face: Any, seen: list[Any]
) -> None:
    # A null for a member that has a default passes validation and is refused at the field.
    query = (
        'mutation($n: Int) { write(what: "1") rotateKey(input: {id: "key_x", graceSeconds: $n}) { secret } }'
    )
    reply = await face.post(query, {"n": None})
    assert (reply.status_code, reply.json()["data"]) == (400, None)
    assert reply.json()["errors"][0]["path"] == ["rotateKey"]
    assert seen == [("1", "key_1")]
    assert face.guard.settled == [[True]]


async def test_an_action_that_cancels_itself_fails_alone(face: Any, logs_errors: None) -> None:
    reply = await face.post("{ cancel ping }")
    assert (reply.status_code, reply.json()["data"]) == (200, {"cancel": None, "ping": "pong"})
    assert reply.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert face.guard.settled == [[False, True]]


async def test_a_mistake_that_leaves_no_data_is_400_or_200_for_plain_json(face: Any) -> None:
    query = '{ echo(text: "x") actions(first: 0) { totalCount } }'
    strict, lenient = await face.post(query), await face.post(query, accept="application/json")
    assert (strict.status_code, lenient.status_code) == (400, 200)
    assert strict.json()["data"] is None
    assert face.guard.settled == [[False], [False]]


async def test_a_long_message_is_cut(face: Any) -> None:
    reply = await face.post('{ see(whole: "' + "x" * 5_000 + '") }')
    assert len(reply.json()["errors"][0]["message"]) == 1_001


async def test_a_failure_of_the_server_that_leaves_no_data_is_a_masked_500(
    face: Any, logs_errors: None
) -> None:
    # The fake engine has no plans, and the schema allows no null there.
    reply = await face.post('{ echo(text: "x") plans { id } }', accept="application/json")
    assert (reply.status_code, reply.json()["data"]) == (500, None)
    (error,) = reply.json()["errors"]
    assert error["extensions"] == {"code": "INTERNAL", "requestId": reply.headers["x-request-id"]}
    assert face.guard.settled == [[False]]
