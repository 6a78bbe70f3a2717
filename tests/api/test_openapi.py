from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from api.forms import forms_of
from api.openapi import document, refusals
from api.problems import problem_of
from api.routes.actions import ActionRoutes
from api_factory import errors
from api_factory.actions import action, define

NOT_BY_REST = {
    "CONFIGURATION",
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "IDEMPOTENCY_CONFLICT",
    "OPERATION_RESOLUTION_FAILURE",
    "PERSISTED_QUERY_NOT_FOUND",
    "QUERY_TOO_COMPLEX",
}


@pytest.fixture
async def described(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/api/v1/openapi.json")).json()
    return found


def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for item in value.values() for each in references(item)]
    return [each for item in value for each in references(item)] if isinstance(value, list) else []


def test_the_document_is_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"] == "3.1.0"
    assert {"title", "version"} <= described["info"].keys()
    ids = [operation["operationId"] for operation in operations(described).values()]
    assert len(ids) == len(set(ids))
    for operation in operations(described).values():
        assert operation["summary"]
        assert "200" in operation["responses"]
        assert all(response.keys() & {"$ref", "description"} for response in operation["responses"].values())


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    found = references(described)
    assert found
    for reference in found:
        at: Any = described
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_every_route_is_described_and_every_description_is_routed(
    described: dict[str, Any], engine: Any
) -> None:
    routes = ActionRoutes(engine.guard, forms_of(engine.catalogue), 1.0).routes()
    routed = {
        (method, route.path)
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    routed -= {("GET", "/api/v1/openapi.json"), ("POST", "/api/v1/actions/{name}")}
    routed |= {("POST", f"/api/v1/actions/{action.name}") for action in engine.catalogue}

    assert operations(described).keys() == routed


def test_every_code_is_documented_with_an_example_of_its_status(described: dict[str, Any]) -> None:
    documented = {
        example["value"]["code"]
        for response in described["components"]["responses"].values()
        for example in response["content"]["application/problem+json"]["examples"].values()
    }
    known = {
        each.code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.ApiFactoryError)
    }

    assert known - NOT_BY_REST <= documented
    for name, response in described["components"]["responses"].items():
        for example in response["content"]["application/problem+json"]["examples"].values():
            assert name == f"Refused{example['value']['status']}"
            assert set(described["components"]["schemas"]["Problem"]["required"]) <= example["value"].keys()


def test_every_call_documents_every_status(described: dict[str, Any]) -> None:
    statuses = {"200", *(str(problem_of(error).status) for error in refusals())}
    for (_, path), operation in operations(described).items():
        if operation["operationId"] != "listActions":
            assert operation["responses"].keys() == statuses, path


def test_keys_are_asked_for_where_they_are_needed(described: dict[str, Any]) -> None:
    needed = [{"bearer": []}, {"apiKey": []}]
    found = operations(described)

    assert found["POST", "/api/v1/actions/echo"]["security"] == needed
    assert found["GET", "/api/v1/hello/ping"]["security"] == [*needed, {}]
    assert described["components"]["securitySchemes"]["apiKey"]["name"] == "X-API-Key"


async def test_every_example_of_a_request_is_accepted(
    client: httpx.AsyncClient, described: dict[str, Any]
) -> None:
    for (method, path), operation in operations(described).items():
        if body := operation.get("requestBody"):
            if path.endswith("/hang"):
                continue
            example = body["content"]["application/json"]["example"]
            reply = await client.request(method, path, json=example)
            assert reply.status_code != 400, (path, reply.text)


def test_arguments_are_described_by_names_types_and_defaults(described: dict[str, Any]) -> None:
    schema = described["components"]["schemas"]["GreetArguments"]

    assert schema["required"] == ["recipient"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["times"] == {
        "type": "integer",
        "minimum": -(2**31),
        "maximum": 2**31 - 1,
        "default": 1,
        "description": "How often.",
    }
    assert schema["properties"]["tones"]["items"]["enum"] == ["FORMAL", "WARM"]
    assert schema["properties"]["price"].get("default") is None
    recipient = described["components"]["schemas"]["RecipientInput"]
    assert recipient["description"] == "Who is greeted."
    assert recipient["properties"]["fullName"]["description"] == "As on the envelope."
    assert recipient["properties"]["tone"]["default"] == "WARM"


def test_deprecation_is_said(described: dict[str, Any]) -> None:
    operation = operations(described)["POST", "/api/v1/actions/hang"]

    assert operation["deprecated"] is True
    assert "use echo" in operation["description"]


def test_a_catalogue_without_the_greeting_actions_is_described_too() -> None:
    assert set(document({}, "1")["paths"]) == {"/api/v1/actions"}


class Only(Enum):
    ONE = 1


@dataclass(frozen=True)
class Part:
    size: int


@action
async def shape(times: list[int], maybe: str | None, only: Only, free: dict[str, int], part: Part) -> Part:
    """Take one of each."""
    return part


@action
async def reshape(part: Part) -> list[Part]:
    """Take a part again."""
    return [part]


def test_an_example_follows_the_schema_of_each_kind_of_argument() -> None:
    described = document(forms_of([define(shape)]), "1")
    body = described["paths"]["/api/v1/actions/shape"]["post"]["requestBody"]

    example = {"times": [1], "maybe": "text", "only": "ONE", "free": {}, "part": {"size": 1}}
    assert body["content"]["application/json"]["example"] == example


def test_a_dataclass_that_actions_share_is_one_schema() -> None:
    described = document(forms_of([define(shape), define(reshape)]), "1")

    assert {"Part", "PartInput"} <= described["components"]["schemas"].keys()
    assert not [name for name in described["components"]["schemas"] if "Part" in name and "__" in name]
