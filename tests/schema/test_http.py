"""The HTTP side: whatever arrives gets the right status and code, and never a 500."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any
from uuid import UUID

import orjson
import pytest

import schema.http
from api_factory import log
from api_factory.errors import KeySuspended, QuotaExceeded, RateLimited, Unavailable
from schema.media import negotiate

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
KEY = "af_test_good"
PING = b'{"query":"{ ping }"}'
TYPED = {"content-type": JSON}


@pytest.mark.parametrize(
    ("method", "body", "headers", "status", "code"),
    [
        ("POST", PING, {}, 415, "BAD_USER_INPUT"),
        ("POST", PING, {"content-type": "text/plain"}, 415, "BAD_USER_INPUT"),
        ("POST", PING, {"content-type": "application/json-anything"}, 415, "BAD_USER_INPUT"),
        ("POST", PING, {"content-type": "application/json; charset=utf-16"}, 415, "BAD_USER_INPUT"),
        ("POST", PING, {"content-type": "application/x-www-form-urlencoded"}, 415, "BAD_USER_INPUT"),
        ("POST", PING, {**TYPED, "content-encoding": "gzip"}, 415, "BAD_USER_INPUT"),
        ("POST", PING, {**TYPED, "accept": "text/html"}, 406, "BAD_USER_INPUT"),
        ("POST", PING, {**TYPED, "accept": "application/json;q=0"}, 406, "BAD_USER_INPUT"),
        ("POST", b"", TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b"{", TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":"{ ping }"', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":"\xff"}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":"\x00"}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":"{ ping }","variables":{"a":NaN}}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b"[" * 5_000, TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"variables":' + b"[" * 5_000 + b"]" * 5_000 + b"}", TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b"null", TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'"x"', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b"7", TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b"[" + PING + b"]", TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b"{}", TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":7}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":null}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":"{ping}","variables":[]}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":"{ping}","variables":"{}"}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":"{ping}","extensions":7}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b'{"query":"{ping}","operationName":7}', TYPED, 400, "BAD_USER_INPUT"),
        ("POST", b" " * 20_001, TYPED, 413, "BAD_USER_INPUT"),
        ("POST", PING, {**TYPED, "authorization": "Basic abc"}, 401, "UNAUTHENTICATED"),
        ("POST", PING, {**TYPED, "authorization": "af_live_secret"}, 401, "UNAUTHENTICATED"),
        ("POST", PING, {**TYPED, "authorization": "Bearer "}, 401, "UNAUTHENTICATED"),
        ("POST", PING, {**TYPED, "authorization": "Bearer wrong"}, 401, "UNAUTHENTICATED"),
        ("POST", PING, {**TYPED, "authorization": "Bearer a", "x-api-key": "b"}, 400, "BAD_USER_INPUT"),
        ("PUT", PING, TYPED, 405, "BAD_USER_INPUT"),
        ("DELETE", b"", {"accept": "*/*"}, 405, "BAD_USER_INPUT"),
    ],
)
async def test_a_malformed_request_is_refused_with_its_status(
    face: Any, method: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await face.http.request(method, "/graphql", content=body, headers=headers)
    assert reply.status_code == status, reply.text
    (error,) = orjson.loads(reply.content)["errors"]
    assert error["extensions"]["code"] == code
    assert set(reply.json()) == {"errors"}
    assert "af_live_secret" not in reply.text
    assert face.guard.settled == []


async def test_head_is_refused_with_the_methods_that_are_served(face: Any) -> None:
    reply = await face.http.head("/graphql")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    ("url", "accept", "status"),
    [
        ("/graphql?query={ping}", GRAPHQL, 200),
        ("/graphql?query={ping}", f"text/html, {JSON};q=0.5", 200),
        ('/graphql?query=query Q($t:String!){echo(text:$t)}&variables={"t":"x"}&operationName=Q', JSON, 200),
        ("/graphql?query={ping}&variables=&operationName=", JSON, 200),
        ("/graphql?query={ping}", "*/*", 406),
        ("/graphql?query={ping}", "image/png", 406),
        ("/graphql", JSON, 400),
        ("/graphql?query={ping}&query={ping}", JSON, 400),
        ("/graphql?query={ping}&variables=[", JSON, 400),
        ("/graphql?query={ping}&variables=7", JSON, 400),
        ("/graphql?query=%ff", JSON, 400),
        ("/graphql?" + "&".join(f"a{number}=1" for number in range(50)), JSON, 400),
        ('/graphql?query=mutation{write(what:"x")}', JSON, 405),
        ("/graphql/elsewhere?query={ping}", JSON, 404),
    ],
)
async def test_get_is_for_queries_of_clients_that_name_a_media_type(
    face: Any, url: str, accept: str, status: int
) -> None:
    reply = await face.http.get(url, headers={"accept": accept, "x-api-key": KEY})
    assert reply.status_code == status, reply.text


async def test_a_mutation_by_get_runs_nothing_and_names_the_method_that_would(
    face: Any, seen: list[Any]
) -> None:
    reply = await face.http.get('/graphql?query=mutation{write(what:"x")}', headers={"accept": JSON})
    assert (reply.headers["allow"], seen, face.guard.asks) == ("POST", [], [])


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL},{JSON};q=0.9", GRAPHQL),
        (f"{GRAPHQL};q=0.1, {JSON}", JSON),
        (f"{GRAPHQL};charset=utf-8", GRAPHQL),
        (f"{GRAPHQL}, application/graphql+json, {JSON}, text/event-stream, multipart/mixed", GRAPHQL),
        ("text/html, */*;q=0.1", JSON),
        (f"{JSON};q=0, */*", None),
        (f"{JSON};q=x", None),
        ("image/png", None),
    ],
)
def test_the_media_type_is_negotiated(accept: str, media: str | None) -> None:
    assert negotiate(accept) == media


async def test_every_reply_names_its_type_and_is_not_stored(face: Any) -> None:
    for reply in (await face.post("{ ping }", accept=""), await face.post("{ nothing }", accept="")):
        assert reply.status_code == 200
        assert reply.headers["content-type"] == f"{JSON}; charset=utf-8"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["vary"] == "Accept, Authorization, X-API-Key"
        assert len(reply.headers["x-request-id"]) == 32
    assert (await face.post("{ ping }")).headers["content-type"] == f"{GRAPHQL}; charset=utf-8"


DOCUMENTS = [
    ("{", "GRAPHQL_PARSE_FAILED"),
    ("", "GRAPHQL_PARSE_FAILED"),
    ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
    ("subscription { ping }", "GRAPHQL_VALIDATION_FAILED"),
    ("query A { ping } query B { ping }", "OPERATION_RESOLUTION_FAILURE"),
    ("query($t: String!) { echo(text: $t) }", "BAD_USER_INPUT"),
    ("fragment F on Query { ping } query { ...F ...F", "GRAPHQL_PARSE_FAILED"),
    ("{ " + " ".join(f"a{number}: ping" for number in range(40)) + " }", "QUERY_TOO_COMPLEX"),
    (
        "{ "
        + " ".join(f'a{number}: greet(recipient: {{fullName: "x"}}) {{ textSaid }}' for number in range(17))
        + " }",
        "COST_LIMIT_EXCEEDED",
    ),
]


@pytest.mark.parametrize(("query", "code"), DOCUMENTS)
async def test_a_wrong_document_is_400_or_200_for_plain_json_and_has_no_data(
    face: Any, query: str, code: str
) -> None:
    strict, lenient = await face.post(query), await face.post(query, accept=JSON)
    assert (strict.status_code, lenient.status_code) == (400, 200), strict.text
    for reply in (strict, lenient):
        assert set(reply.json()) == {"errors"}
        assert 1 <= len(reply.json()["errors"]) <= 5
        assert {error["extensions"]["code"] for error in reply.json()["errors"]} == {code}
    assert face.guard.asks == []


async def test_at_most_five_errors_are_told_and_none_suggests_a_name(face: Any) -> None:
    reply = await face.post("{ pin eco pong(a: 1) vewer plan nod acton actons usag }")
    errors = reply.json()["errors"]
    assert len(errors) == 5
    assert "Did you mean" not in reply.text
    reply = await face.post(
        "query("
        + ",".join(f"$v{n}: Int!" for n in range(8))
        + ") {"
        + " ".join(f"a{n}: count(upTo: $v{n})" for n in range(8))
        + "}"
    )
    assert len(reply.json()["errors"]) == 5


async def test_an_unknown_operation_name_is_refused(face: Any) -> None:
    reply = await face.post("query A { ping }", operationName="B")
    assert reply.json()["errors"][0]["extensions"]["code"] == "OPERATION_RESOLUTION_FAILURE"
    reply = await face.post('query A { ping } query B { echo(text: "b") }', operationName="B")
    assert reply.json() == {"data": {"echo": "b"}}


@pytest.mark.parametrize("accept", [GRAPHQL, JSON])
async def test_a_refusal_of_the_guard_keeps_its_status_for_every_client(face: Any, accept: str) -> None:
    reply = await face.post("{ viewer { id } }", key=None, accept=accept)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="api"'
    reply = await face.post("{ ping }", key="wrong", accept=accept)
    assert reply.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'
    reply = await face.post("{ report }", accept=accept)
    assert reply.status_code == 403
    assert 'scope="READ_REPORTS"' in reply.headers["www-authenticate"]
    (error,) = reply.json()["errors"]
    assert error["extensions"] == {
        "code": "FORBIDDEN",
        "coordinate": "Query.report",
        "requiredScopes": ["READ_REPORTS"],
    }
    assert "data" not in reply.json()


async def test_a_refusal_says_when_to_retry(face: Any) -> None:
    face.guard.refusal = RateLimited(
        policy="minute", limit=60, window_seconds=60, remaining=0, retry_after_seconds=7
    )
    face.guard.refusal.headers["RateLimit"] = '"minute";r=0;t=7'
    reply = await face.post("{ ping }", accept=JSON)
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")
    assert reply.headers["ratelimit"] == '"minute";r=0;t=7'
    assert reply.json()["errors"][0]["extensions"] == {
        "code": "RATE_LIMITED",
        "policy": "minute",
        "limit": 60,
        "window": 60,
        "remaining": 0,
        "retryAfter": 7,
    }


async def test_a_refused_settlement_is_the_whole_reply(face: Any) -> None:
    face.guard.settle_refusal = QuotaExceeded(units=1, limit=10, used=10, reset_seconds=99)
    reply = await face.post('{ echo(text: "secret result") }')
    assert reply.status_code == 429
    assert "secret result" not in reply.text
    assert "data" not in reply.json()
    assert face.guard.abandoned == 1


async def test_a_guarded_reply_carries_the_rate_limits(face: Any) -> None:
    reply = await face.post("{ ping }")
    assert reply.headers["ratelimit-policy"] == '"minute";q=60;w=60'
    assert reply.headers["ratelimit"] == '"minute";r=59;t=42'
    assert "ratelimit" not in (await face.post("{ ping }", key=None)).headers


async def test_an_operation_that_runs_too_long_is_given_up(face: Any) -> None:
    reply = await face.post("{ hang }")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    assert "data" not in reply.json()
    assert reply.headers["ratelimit"] == '"minute";r=59;t=42'
    assert (face.guard.settled, face.guard.abandoned) == ([], 1)


async def test_what_a_mutation_did_before_its_time_was_up_is_answered_and_charged(
    face: Any, seen: list[Any]
) -> None:
    reply = await face.post('mutation { a: write(what: "1") b: writeSlowly c: write(what: "2") }')
    assert reply.status_code == 200
    assert reply.json()["data"] == {"a": "1", "b": None, "c": None}
    assert seen == [("1", "key_1"), "begun"]
    errors = reply.json()["errors"]
    assert [error["path"] for error in errors] == [["b"], ["c"]]
    assert [error["extensions"]["code"] for error in errors] == ["UNAVAILABLE", "UNAVAILABLE"]
    assert [error["extensions"]["retryAfter"] for error in errors] == [1, 1]
    assert (face.guard.settled, face.guard.abandoned) == ([[True, False, False]], 0)


@pytest.mark.parametrize("refusal", [Unavailable, KeySuspended])
async def test_a_refusal_after_the_admission_carries_the_rate_limits(face: Any, refusal: Any) -> None:
    face.guard.settle_refusal = refusal()
    reply = await face.post('{ echo(text: "x") }')
    assert reply.status_code == refusal.status
    assert reply.headers["ratelimit-policy"] == '"minute";q=60;w=60'
    assert reply.headers["ratelimit"] == '"minute";r=59;t=42'


async def test_an_id_is_made_only_for_a_request_without_one(
    face: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def make() -> UUID:
        made.append(UUID(int=7))
        return made[-1]

    monkeypatch.setattr(schema.http, "uuid7", make)
    await _call(face.app, [{"type": "http.request", "body": PING}], state={"request_id": "r1", "address": ""})
    assert made == []
    start, _ = await _call(face.app, [{"type": "http.request", "body": PING}])
    assert dict(start["headers"])[b"x-request-id"].decode() == made[0].hex


async def test_only_documents_of_those_who_may_run_them_are_kept(face: Any) -> None:
    documents = face.app._documents
    for key in (None, "wrong"):
        assert (await face.post('{ echo(text: "x") }', key=key)).status_code == 401
    assert (await face.post("{ report }")).status_code == 403
    assert len(documents) == 0
    await face.data('{ echo(text: "x") }')
    assert len(documents) == 1


async def test_lines_of_a_request_name_its_account_and_its_key(
    face: Any, logs_errors: None, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(log.JsonFormatter())
    logger = logging.getLogger("api_factory.guard")
    logger.addHandler(handler)
    try:
        await face.post("{ crash }")
    finally:
        logger.removeHandler(handler)
    line = orjson.loads(capsys.readouterr().out)
    assert (line["account_id"], line["key_id"]) == ("acc_1", "key_1")


async def test_a_cancelled_operation_gives_back_what_it_held(face: Any) -> None:
    task = asyncio.create_task(face.post("{ hang }"))
    while not face.guard.asks:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (face.guard.settled, face.guard.abandoned) == ([], 1)


async def test_what_breaks_inside_is_a_masked_500(
    face: Any, logs_errors: None, caplog: pytest.LogCaptureFixture
) -> None:
    face.guard.refusal = RuntimeError("the password is hunter2")
    reply = await face.post("{ ping }")
    assert reply.status_code == 500
    (error,) = reply.json()["errors"]
    assert error["extensions"] == {"code": "INTERNAL", "requestId": reply.headers["x-request-id"]}
    assert "hunter2" not in reply.text
    assert "hunter2" in caplog.text


async def test_an_unavailable_part_is_503(face: Any) -> None:
    face.guard.refusal = Unavailable()
    reply = await face.post("{ ping }", accept=JSON)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


async def _call(app: Any, messages: list[dict[str, Any]], **scope: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    base = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b""}
    await app({**base, "headers": [(b"content-type", b"application/json")], **scope}, receive, send)
    return sent


async def test_a_body_in_pieces_is_joined_and_counted(face: Any) -> None:
    pieces = [
        {"type": "http.request", "body": PING[:9], "more_body": True},
        {"type": "http.request", "body": PING[9:]},
    ]
    state: dict[str, Any] = {"request_id": "r1", "address": "192.0.2.7"}
    start, body = await _call(face.app, pieces, state=state)
    assert (start["status"], orjson.loads(body["body"])) == (200, {"data": {"ping": "pong"}})
    assert face.guard.credentials[0].address == "192.0.2.7"
    assert state["code"] == "OK"
    assert b"x-request-id" not in dict(start["headers"])
    endless = [{"type": "http.request", "body": b" " * 6_000, "more_body": True}] * 4
    start, _ = await _call(face.app, endless)
    assert start["status"] == 413


async def test_a_client_that_hangs_up_is_not_answered(face: Any) -> None:
    state: dict[str, Any] = {}
    assert await _call(face.app, [{"type": "http.disconnect"}], state=state) == []
    assert state["code"] == "BAD_USER_INPUT"


async def test_the_address_is_the_peers_when_nobody_says_otherwise(face: Any) -> None:
    await _call(face.app, [{"type": "http.request", "body": PING}], client=("198.51.100.3", 4))
    await _call(face.app, [{"type": "http.request", "body": PING}])
    assert [each.address for each in face.guard.credentials] == ["198.51.100.3", ""]


async def test_several_headers_of_one_name_are_one_list(face: Any) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"image/png"),
        (b"accept", GRAPHQL.encode()),
    ]
    start, _ = await _call(face.app, [{"type": "http.request", "body": PING}], headers=headers)
    assert start["status"] == 200


async def test_only_a_reply_that_shows_a_secret_asks_not_to_be_compressed(house: Any) -> None:
    key = await house.key(await house.account(), "MANAGE_KEYS", "RUN_ACTIONS")
    app = house.http._transport.app
    for selected, is_withheld in (("secret", True), ("apiKey { id }", False)):
        query = f'mutation {{ createKey(input: {{name: "k"}}) {{ {selected} }} }}'
        state: dict[str, Any] = {"request_id": "r", "address": ""}
        body = orjson.dumps({"query": query})
        headers = [(b"content-type", JSON.encode()), (b"x-api-key", key.secret.encode())]
        await _call(app, [{"type": "http.request", "body": body}], state=state, headers=headers)
        assert state.get("no_compression", False) is is_withheld
