from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.forms import forms_of
from api_factory.actions import ID, action, define
from api_factory.errors import InvalidKey, KeySuspended, QuotaExceeded, Unavailable

AUTHORIZATION = {"Authorization": "Bearer af_live_anything"}


async def test_a_call_answers_its_result_its_units_and_its_limits(
    client: httpx.AsyncClient, engine: Any
) -> None:
    reply = await client.post(
        "/api/v1/actions/greet",
        json={"recipient": {"fullName": "Ada"}, "times": 2},
        headers={**AUTHORIZATION, "X-Request-Id": "r1"},
    )

    assert reply.status_code == 200
    assert reply.json() == {
        "data": {
            "textSaid": "Hello Hello",
            "recipient": {"fullName": "Ada", "tone": "WARM", "bornAt": None},
            "tags": [],
        },
        "units": 3,
        "requestId": "r1",
    }
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["ratelimit-policy"] == '"minute";q=60;w=60'
    assert reply.headers["ratelimit"] == '"minute";r=59;t=42'
    assert engine.guard.settled == [[True]]
    assert engine.guard.abandoned == 0


async def test_the_guard_is_asked_what_the_call_would_do(client: httpx.AsyncClient, engine: Any) -> None:
    await client.post("/api/v1/actions/returned", json={"value": 1}, headers=AUTHORIZATION)
    await client.get("/api/v1/hello/ping")

    (credentials, ask), (nobody, open_ask) = engine.guard.asks
    assert credentials.text == "af_live_anything"
    assert credentials.address == "127.0.0.1"
    assert [action.name for action in ask.calls] == ["returned"]
    assert ask.scopes == {"RUN_ACTIONS"}
    assert ask.key_required
    assert nobody.text is None
    assert open_ask.scopes == frozenset()
    assert not open_ask.key_required


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/api/v1/hello/echo?text=hi", None),
        ("POST", "/api/v1/hello/echo", {"text": "hi"}),
        ("POST", "/api/v1/actions/echo", {"text": "hi"}),
        ("POST", "/api/v1/actions", {"action": "echo", "arguments": {"text": "hi"}}),
    ],
)
async def test_every_door_reaches_the_same_action(
    client: httpx.AsyncClient, method: str, path: str, content: object
) -> None:
    reply = await client.request(method, path, json=content)

    assert reply.json()["data"] == "hi"


@pytest.mark.parametrize(
    ("path", "content"), [("/api/v1/actions/ping", None), ("/api/v1/actions", {"action": "ping"})]
)
async def test_arguments_may_be_left_out_where_none_are_needed(
    client: httpx.AsyncClient, path: str, content: object
) -> None:
    assert (await client.post(path, json=content)).json()["data"] == "pong"
    assert (await client.post("/api/v1/actions/ping")).json()["data"] == "pong"


async def test_every_type_is_read_and_the_rest_is_left_to_the_defaults(
    client: httpx.AsyncClient, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    run = type(engine.guard).admit

    async def admit(self: Any, *arguments: Any) -> Any:
        admission = await run(self, *arguments)
        return Spy(admission, given)

    monkeypatch.setattr(type(engine.guard), "admit", admit)
    await client.post(
        "/api/v1/actions/greet",
        json={
            "recipient": {"fullName": "Ada", "tone": "FORMAL", "bornAt": "1815-12-10T12:00:00Z"},
            "volume": 1,
            "loud": True,
            "reference": "0190163d-8694-739b-aea5-966c26f8ad91",
            "price": "19.90",
            "tags": ["a"],
            "tones": ["WARM", "FORMAL"],
            "threadId": "t1",
            "extra": {"any": [None, True, 1.5, "\u0000"]},
        },
    )

    recipient = given.pop("recipient")
    assert (recipient["full_name"], recipient["tone"].name) == ("Ada", "FORMAL")
    assert recipient["born_at"] == datetime(1815, 12, 10, 12, tzinfo=UTC)
    assert [tone.name for tone in given.pop("tones")] == ["WARM", "FORMAL"]
    assert given == {
        "volume": 1.0,
        "loud": True,
        "reference": UUID("0190163d-8694-739b-aea5-966c26f8ad91"),
        "price": Decimal("19.90"),
        "tags": ["a"],
        "thread_id": ID("t1"),
        "extra": {"any": [None, True, 1.5, "\u0000"]},
    }


class Spy:
    """An admission that remembers the arguments of its run."""

    def __init__(self, admission: Any, given: dict[str, Any]) -> None:
        self._admission = admission
        self._given = given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._admission, name)

    async def run(self, index: int, arguments: Any) -> Any:
        self._given.update(arguments)
        return await self._admission.run(index, arguments)


WRONG: list[tuple[str, object, list[object]]] = [
    ("greet", {}, ["recipient"]),
    ("greet", {"recipient": "Ada"}, ["recipient"]),
    ("greet", {"recipient": {"fullName": "A", "age": 1}}, ["recipient", "age"]),
    ("greet", {"recipient": {"fullName": "A", "tone": "warm"}}, ["recipient", "tone"]),
    ("greet", {"recipient": {"fullName": "A", "tone": 1}}, ["recipient", "tone"]),
    ("greet", {"recipient": {"fullName": "A", "bornAt": 5}}, ["recipient", "bornAt"]),
    ("greet", {"recipient": {"fullName": "A", "full_name": "B"}}, ["recipient", "full_name"]),
    ("greet", {"recipient": {"fullName": "A"}, "times": True}, ["times"]),
    ("greet", {"recipient": {"fullName": "A"}, "times": "1"}, ["times"]),
    ("greet", {"recipient": {"fullName": "A"}, "times": 1.5}, ["times"]),
    ("greet", {"recipient": {"fullName": "A"}, "times": None}, ["times"]),
    ("greet", {"recipient": {"fullName": "A"}, "volume": "1"}, ["volume"]),
    ("greet", {"recipient": {"fullName": "A"}, "loud": 1}, ["loud"]),
    ("greet", {"recipient": {"fullName": "A"}, "reference": "x"}, ["reference"]),
    ("greet", {"recipient": {"fullName": "A"}, "price": "NaN"}, ["price"]),
    ("greet", {"recipient": {"fullName": "A"}, "price": True}, ["price"]),
    ("greet", {"recipient": {"fullName": "A"}, "tags": ["a", 1]}, ["tags", 1]),
    ("greet", {"recipient": {"fullName": "A"}, "tones": ["WARM", "x"]}, ["tones", 1]),
    ("greet", {"recipient": {"fullName": "A"}, "extra": []}, ["extra"]),
    ("greet", {"recipient": {"fullName": "A"}, "p0": 1}, ["p0"]),
    ("echo", {"text": None}, ["text"]),
    ("echo", {"text": "a", "x" * 500: 1}, ["x" * 100]),
    ("ping", {"text": "a"}, ["text"]),
]


@pytest.mark.parametrize(("name", "arguments", "path"), WRONG, ids=str)
async def test_a_wrong_argument_is_named_and_nothing_runs(
    client: httpx.AsyncClient, engine: Any, name: str, arguments: object, path: list[object]
) -> None:
    reply = await client.post(f"/api/v1/actions/{name}", json=arguments)

    assert reply.status_code == 400
    content = reply.json()
    assert content["code"] == "BAD_USER_INPUT"
    assert [problem["path"] for problem in content["problems"]] == [path]
    assert content["problems"][0]["message"] in content["detail"]
    assert engine.guard.asks == []


async def test_all_wrong_arguments_are_listed_up_to_a_bound(client: httpx.AsyncClient) -> None:
    two = await client.post("/api/v1/actions/greet", json={"recipient": {}, "times": "x"})
    many = await client.post("/api/v1/actions/ping", json={f"f{n}": 1 for n in range(100)})

    assert two.json()["problems"] == [
        {"path": ["recipient", "fullName"], "message": "It is required."},
        {"path": ["times"], "message": "Input should be a valid integer."},
    ]
    assert len(many.json()["problems"]) == 20


async def test_what_an_author_says_in_post_init_reaches_the_client(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/v1/actions/greet", json={"recipient": {"fullName": ""}})

    assert reply.json()["detail"] == "recipient: full_name is empty."


BAD_BODIES: list[tuple[bytes, str, int]] = [
    (b"{", "application/json", 400),
    (b"[]", "application/json", 400),
    (b"null", "application/json", 400),
    (b'"text"', "application/json", 400),
    (b'{"value": NaN}', "application/json", 400),
    (b'{"value": Infinity}', "application/json", 400),
    (b'{"value": 1e999}', "application/json", 400),
    (b'{"value": [1e999]}', "application/json", 400),
    (b'{"value": ' + b"[" * 500 + b"]" * 500 + b"}", "application/json", 400),
    (b'{"value": ' + b"9" * 1_900 + b"}", "application/json", 400),
    (b'{"value": 18446744073709551615}', "application/json", 200),
    (b'{"value": "\\ud800"}', "application/json", 400),
    (b'{"value": "\xff"}', "application/json", 400),
    (b"\x00", "application/json", 400),
    (b'\xef\xbb\xbf{"value": 1}', "application/json", 400),
    (b'{"value": 1} {', "application/json", 400),
    (b'{"value": 1}', "text/plain", 415),
    (b"value=1", "application/x-www-form-urlencoded", 415),
    (b'{"value": 1}', "", 415),
    (b'{"value": 1}', "application/json; charset=utf-16", 415),
    (b'{"value": 1}', 'application/json; charset="UTF-8"', 200),
    (b'{"value": 1}', "application/vnd.example+json", 200),
    (b'{"value": "\\u0000"}', "application/json", 200),
]


@pytest.mark.parametrize(("body", "content_type", "status"), BAD_BODIES, ids=lambda value: str(value)[:40])
async def test_bodies(client: httpx.AsyncClient, body: bytes, content_type: str, status: int) -> None:
    reply = await client.post(
        "/api/v1/actions/returned",
        content=body,
        headers={"Content-Type": content_type} if content_type else {},
    )

    assert reply.status_code == status
    if status != 200:
        assert reply.json()["code"] == "BAD_USER_INPUT"
        assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"action": 1},
        {"action": None, "arguments": {}},
        {"action": "echo", "arguments": None},
        {"action": "echo", "arguments": ["hi"]},
        {"action": "echo", "arguments": {"text": "hi"}, "key": "af_live_x"},
    ],
)
async def test_an_envelope_must_be_well_formed(
    client: httpx.AsyncClient, engine: Any, content: object
) -> None:
    reply = await client.post("/api/v1/actions", json=content)

    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_USER_INPUT")
    assert engine.guard.asks == []


@pytest.mark.parametrize("name", ["nothing", "__class__", "Echo", "%00", "a%2Fb", "x" * 1_000])
async def test_an_unknown_action_is_not_found(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.post(f"/api/v1/actions/{name}")).json()["code"] == "NOT_FOUND"
    assert (await client.post("/api/v1/actions", json={"action": name})).json()["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("text=", 200),
        ("text=%C3%BC", 200),
        ("", 400),
        ("text=a&text=b", 400),
        ("text=a&api_key=af_live_x", 400),
        ("text=%ff%fe", 400),
        ("text=%ed%a0%80", 400),
    ],
)
async def test_queries(client: httpx.AsyncClient, query: str, status: int) -> None:
    reply = await client.get(f"/api/v1/hello/echo?{query}")

    assert reply.status_code == status
    assert "af_live_x" not in reply.text


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": "Basic dXNlcjpwYXNz"}, 401, "UNAUTHENTICATED"),
        ({"Authorization": "Bearer"}, 401, "UNAUTHENTICATED"),
        ({"Authorization": "Bearer one", "X-API-Key": "two"}, 400, "BAD_USER_INPUT"),
    ],
)
async def test_wrong_credentials_never_reach_the_guard(
    client: httpx.AsyncClient, engine: Any, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await client.get("/api/v1/hello/echo?text=a", headers=headers)

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert engine.guard.asks == []


async def test_a_refusal_of_the_guard_is_the_reply(client: httpx.AsyncClient, engine: Any) -> None:
    engine.guard.refusal = InvalidKey()

    reply = await client.get("/api/v1/hello/echo?text=a", headers=AUTHORIZATION)

    assert (reply.status_code, reply.json()["code"]) == (401, "UNAUTHENTICATED")
    assert reply.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'
    assert engine.guard.settled == []


async def test_a_reply_does_not_leave_when_its_charge_is_refused(
    client: httpx.AsyncClient, engine: Any
) -> None:
    engine.guard.settle_refusal = QuotaExceeded(units=1, limit=10, used=10, reset_seconds=60)

    reply = await client.get("/api/v1/hello/echo?text=secret-result")

    assert (reply.status_code, reply.json()["code"]) == (429, "QUOTA_EXCEEDED")
    assert reply.headers["retry-after"] == "60"
    assert "secret-result" not in reply.text


@pytest.mark.parametrize("refusal", [Unavailable, KeySuspended])
async def test_a_refusal_after_the_admission_carries_the_rate_limits(
    client: httpx.AsyncClient, engine: Any, refusal: Any
) -> None:
    engine.guard.settle_refusal = refusal()

    reply = await client.get("/api/v1/hello/echo?text=a", headers=AUTHORIZATION)

    assert reply.status_code == refusal.status
    assert reply.headers["ratelimit-policy"] == '"minute";q=60;w=60'
    assert reply.headers["ratelimit"] == '"minute";r=59;t=42'
    assert engine.guard.abandoned == 1


@pytest.mark.parametrize("path", ["/api/v1/hello/echo?text=a", "/api/v1/hello/ping"])
async def test_head_runs_nothing(client: httpx.AsyncClient, engine: Any, path: str) -> None:
    reply = await client.head(path, headers=AUTHORIZATION)

    assert reply.status_code == 405
    assert "HEAD" not in reply.headers["allow"]
    assert engine.guard.asks == []


@pytest.mark.parametrize(
    ("moment", "received"),
    [
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_author_receives_every_moment_in_utc(moment: str, received: datetime) -> None:
    @action
    async def at(moment: datetime) -> datetime:
        """Return the moment."""
        return moment

    arguments = forms_of([define(at)])["at"].read({"moment": moment})

    assert arguments == {"moment": received}
    assert received.tzinfo is arguments["moment"].tzinfo  # type: ignore[attr-defined]


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_moment_that_utc_cannot_express_is_refused(
    client: httpx.AsyncClient, engine: Any, moment: str
) -> None:
    reply = await client.post(
        "/api/v1/actions/greet", json={"recipient": {"fullName": "Ada", "bornAt": moment}}
    )

    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_USER_INPUT")
    assert reply.json()["problems"][0]["path"] == ["recipient", "bornAt"]
    assert engine.guard.asks == []


async def test_an_action_that_cancels_itself_is_internal_and_costs_nothing(
    client: httpx.AsyncClient, engine: Any
) -> None:
    reply = await client.post("/api/v1/actions/cancel")

    assert (reply.status_code, reply.json()["code"]) == (500, "INTERNAL")
    assert engine.guard.settled == [[False]]


async def test_a_failed_action_is_settled_as_failed_and_keeps_its_limits(
    client: httpx.AsyncClient, engine: Any
) -> None:
    reply = await client.post("/api/v1/actions/refuse", json={"reason": "why"})

    assert reply.status_code == 422
    content = reply.json()
    assert (content["code"], content["detail"], content["limit"]) == ("TEXT_REFUSED", "Refused: why", 7)
    assert content["type"] == "about:blank"
    assert reply.headers["ratelimit"] == '"minute";r=59;t=42'
    assert engine.guard.settled == [[False]]


@pytest.mark.parametrize("name", ["crash", "lie"])
async def test_a_fault_of_the_author_is_internal_and_costs_nothing(
    client: httpx.AsyncClient, engine: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await client.post(f"/api/v1/actions/{name}")

    assert (reply.status_code, reply.json()["code"]) == (500, "INTERNAL")
    assert reply.json()["requestId"] == reply.headers["x-request-id"]
    assert "hunter2" not in reply.text
    assert name in caplog.text
    assert engine.guard.settled == [[False]]


async def test_a_refusal_that_an_action_raises_keeps_its_code(client: httpx.AsyncClient, engine: Any) -> None:
    reply = await client.post("/api/v1/actions/missing")

    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")
    assert engine.guard.settled == [[False]]


async def test_an_action_that_does_not_end_is_given_up(build: Any, connect: Any) -> None:
    app, engine = build(operation_timeout_seconds=0.01)
    async with connect(app) as client:
        reply = await client.post("/api/v1/actions/hang")

    assert (reply.status_code, reply.json()["code"]) == (503, "UNAVAILABLE")
    assert reply.headers["retry-after"] == "1"
    assert reply.headers["ratelimit"] == '"minute";r=59;t=42'
    assert engine.guard.settled == [[False]]


async def test_nan_in_a_result_is_a_fault_and_not_a_null(client: httpx.AsyncClient, engine: Any) -> None:
    from api.forms import forms_of
    from api_factory.actions import action, define

    @action
    async def ratio() -> float:
        """Divide."""
        return 0.0

    form = forms_of([define(ratio)])["ratio"]
    assert form.write(0.5) == b'{"data":0.5}'
    with pytest.raises(ValueError, match="finite"):
        form.write(float("nan"))


async def test_the_catalogue_lists_every_action_as_its_clients_see_it(
    client: httpx.AsyncClient, engine: Any
) -> None:
    listed = {each["name"]: each for each in (await client.get("/api/v1/actions")).json()["actions"]}

    assert list(listed) == [action.name for action in engine.catalogue]
    assert listed["ping"]["public"] is True
    assert listed["ping"]["scope"] is None
    greet = listed["greet"]
    assert (greet["units"], greet["rate"], greet["charge"]) == (3, "10/second", "on_success")
    assert greet["parameters"][0] == {
        "name": "recipient",
        "type": "Recipient",
        "required": True,
        "description": "Who.",
    }
    assert listed["hang"]["deprecationReason"] == "use echo"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/hello/ping", {"GET"}),
        ("PUT", "/api/v1/hello/echo", {"GET", "POST"}),
        ("DELETE", "/api/v1/actions", {"GET", "HEAD", "POST"}),
        ("GET", "/api/v1/actions/echo", {"POST"}),
        ("POST", "/api/v1/openapi.json", {"GET", "HEAD"}),
        ("POST", "/", {"GET", "HEAD"}),
        ("POST", "/_api/healthz", {"GET", "HEAD"}),
        ("POST", "/metrics", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_names_the_right_ones(
    client: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    reply = await client.request(method, path)

    assert (reply.status_code, reply.json()["code"]) == (405, "BAD_USER_INPUT")
    assert set(reply.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["/nothing", "/api", "/api/v1/", "/api/v2/actions", "/static/none.css", "/_api/x"]
)
async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)

    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["instance"] == path
