from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from api.problems import QUOTA_EXCEEDED_TYPE, ProblemResponse, is_unexpected, problem_of
from api_factory.actions import ActionError
from api_factory.errors import (
    ApiFactoryError,
    BadUserInput,
    ConfigurationError,
    InternalError,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ScopeMissing,
    Unauthenticated,
    Unavailable,
)
from api_factory.limits.windows import WindowStatus


def reply_to(error: Exception, **state: Any) -> tuple[dict[str, Any], dict[str, str]]:
    response = ProblemResponse(
        error, {"type": "http", "path": "/a b/ü", "state": {"request_id": "r1", **state}}
    )
    assert response.status_code == json.loads(response.body)["status"]
    return json.loads(response.body), dict(response.headers)


def test_a_problem_has_every_member_of_the_rfc_and_ours() -> None:
    content, headers = reply_to(BadUserInput("text: It is required.", extensions={"problems": [1]}))

    assert content == {
        "type": "/docs/errors#BAD_USER_INPUT",
        "title": "Bad user input",
        "status": 400,
        "detail": "text: It is required.",
        "instance": "/a%20b/%C3%BC",
        "code": "BAD_USER_INPUT",
        "requestId": "r1",
        "problems": [1],
    }
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"


def test_extensions_never_replace_a_member() -> None:
    error = BadUserInput("no", extensions={"status": 200, "code": "OK", "type": "x", "requestId": "forged"})

    content, _ = reply_to(error)

    assert (content["status"], content["code"], content["requestId"]) == (400, "BAD_USER_INPUT", "r1")


def test_a_rate_limit_uses_the_registered_type_and_names_the_policy() -> None:
    window = WindowStatus("minute", 60, 60, 0, 12)
    error = RateLimited(
        policy="minute", limit=60, window_seconds=60, remaining=0, retry_after_seconds=12, statuses=(window,)
    )

    content, headers = reply_to(error)

    assert content["type"] == QUOTA_EXCEEDED_TYPE
    assert content["violated-policies"] == ["minute"]
    assert (content["status"], content["code"], content["retryAfter"]) == (429, "RATE_LIMITED", 12)
    assert headers["retry-after"] == "12"
    assert headers["ratelimit-policy"] == '"minute";q=60;w=60'
    assert headers["ratelimit"] == '"minute";r=0;t=12'


def test_headers_that_the_guard_has_written_are_kept() -> None:
    window = WindowStatus("minute", 60, 60, 0, 12)
    error = RateLimited(
        policy="minute", limit=60, window_seconds=60, remaining=0, retry_after_seconds=12, statuses=(window,)
    )
    error.headers["RateLimit"] = '"mine";r=0;t=1'

    assert reply_to(error)[1]["ratelimit"] == '"mine";r=0;t=1'


def test_an_exhausted_quota_names_itself_and_its_numbers() -> None:
    content, headers = reply_to(QuotaExceeded(units=2, limit=10, used=9, reset_seconds=99))

    assert content["violated-policies"] == ["quota"]
    assert (content["code"], content["cost"], content["remaining"]) == ("QUOTA_EXCEEDED", 2, 1)
    assert headers["retry-after"] == "99"


def test_a_challenge_is_sent_as_its_header() -> None:
    assert reply_to(Unauthenticated())[1]["www-authenticate"] == 'Bearer realm="api"'
    assert 'scope="A B"' in reply_to(ScopeMissing(frozenset({"B", "A"})))[1]["www-authenticate"]


def test_an_action_that_refuses_answers_422_with_its_own_code() -> None:
    content, _ = reply_to(ActionError("Too long.", "TEXT_TOO_LONG", limit=5, when={1: object}))

    assert (content["status"], content["code"], content["detail"]) == (422, "TEXT_TOO_LONG", "Too long.")
    assert content["limit"] == 5
    assert (content["type"], content["title"]) == ("about:blank", "Unprocessable Content")


def test_an_action_that_refuses_without_a_code_points_to_the_page() -> None:
    content, _ = reply_to(ActionError("No."))

    assert (content["type"], content["title"]) == ("/docs/errors#ACTION_FAILED", "Action failed")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("hunter2"),
        InternalError("hunter2"),
        ConfigurationError("hunter2"),
        ApiFactoryError("hunter2"),
    ],
)
def test_what_is_not_meant_for_clients_says_nothing(error: Exception) -> None:
    content, _ = reply_to(error)

    assert (content["status"], content["code"]) == (500, "INTERNAL")
    assert "hunter2" not in json.dumps(content)
    assert is_unexpected(error)


@pytest.mark.parametrize("error", [NotFound(), Unavailable(), ActionError("no"), HTTPException(404)])
def test_what_was_refused_on_purpose_is_no_fault(error: Exception) -> None:
    assert not is_unexpected(error)


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "NOT_FOUND"), (405, "BAD_USER_INPUT"), (400, "BAD_USER_INPUT"), (500, "INTERNAL")],
)
def test_routing_errors_become_refusals(status: int, code: str) -> None:
    assert problem_of(HTTPException(status)).code == code


def test_a_problem_tells_the_log_its_code_even_without_a_state() -> None:
    scope: dict[str, Any] = {"type": "http", "path": "/"}
    response = ProblemResponse(NotFound(), scope)

    assert scope["state"]["code"] == "NOT_FOUND"
    assert "requestId" not in json.loads(response.body)
