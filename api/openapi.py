"""The REST mirror as an OpenAPI 3.1 document, built from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from api.forms import Form
from api.problems import MEDIA_TYPE, members_of, problem_of
from api_factory.actions import ActionError
from api_factory.errors import (
    BadUserInput,
    BodyTooLarge,
    CostLimitExceeded,
    IdempotencyConflict,
    IdempotencyMismatch,
    IdempotencyOutcomeNotKept,
    InternalError,
    InvalidKey,
    NotFound,
    PaymentRequired,
    QuotaExceeded,
    RateLimited,
    ScopeMissing,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)

Json = dict[str, Any]

ACTIONS_PATH: Final = "/api/v1/actions"
PING_PATH: Final = "/api/v1/hello/ping"
ECHO_PATH: Final = "/api/v1/hello/echo"
OPENAPI_PATH: Final = "/api/v1/openapi.json"

_REF: Final = "#/components/schemas/{model}"
_EXAMPLE_ID: Final = "0190163d8694739baea5966c26f8ad91"
_EXAMPLE_PROBLEM: Final = {"path": ["text"], "message": "It is required."}
_EXAMPLES: Final[Mapping[str, object]] = {
    "uuid": "0190163d-8694-739b-aea5-966c26f8ad91",
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "string": "text",
    "null": None,
    "object": {},
}

_IDEMPOTENCY_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 257},
    "description": "A new UUID for each new request, the same for its retries: whatever happens in between, "
    "the call is charged once, and a retry gets the same reply byte for byte. While the first is running a "
    "retry is refused with 409, and with another payload with 422.",
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}
_OF_A_REPLAY: Final = ("Idempotency-Replayed", "X-Original-Request-Id")
_REPEATABLE: Final[Json] = {"parameters": [{"$ref": "#/components/parameters/IdempotencyKey"}]}


def refusals() -> tuple[Exception, ...]:
    """Return one example of everything a call of an action can be refused with."""
    return (
        BadUserInput("text: It is required.", extensions={"problems": [_EXAMPLE_PROBLEM]}),
        CostLimitExceeded(cost=20, maximum=10, policy="second"),
        Unauthenticated(),
        InvalidKey(),
        PaymentRequired(),
        ScopeMissing(frozenset({"RUN_ACTIONS"})),
        NotFound(f"There is no action of that name; GET {ACTIONS_PATH} lists them."),
        BodyTooLarge(),
        UnsupportedMediaType(),
        IdempotencyConflict(retry_after_seconds=1),
        IdempotencyOutcomeNotKept(),
        IdempotencyMismatch(),
        ActionError("The text is too long.", "TEXT_TOO_LONG", maximum=10_000),
        RateLimited(policy="minute", limit=60, window_seconds=60, remaining=0, retry_after_seconds=12),
        QuotaExceeded(units=1, limit=1000, used=1000, reset_seconds=86_400),
        InternalError(),
        Unavailable(),
    )


def document(forms: Mapping[str, Form], version: str) -> Json:
    """Return the whole document: a path for each action, the generic ones, every refusal with an example."""
    builder = _Builder(forms)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "API-Factory",
            "version": version,
            "summary": "The actions of this server by REST.",
            "description": "The same actions, keys, limits and quotas as the GraphQL endpoint.",
        },
        "servers": [{"url": "/"}],
        "paths": builder.paths(),
        "components": {
            "schemas": builder.schemas,
            "responses": _problem_responses(),
            "headers": _headers(),
            "parameters": {"IdempotencyKey": _IDEMPOTENCY_KEY},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


class _Builder:
    """The parts of one document that refer to each other."""

    def __init__(self, forms: Mapping[str, Form]) -> None:
        self._forms = forms
        models: list[tuple[type[BaseModel], JsonSchemaMode]] = []
        for form in forms.values():
            models += [(form.arguments, "validation"), (form.result, "serialization")]
        self._refs, definitions = models_json_schema(
            models, ref_template=_REF, schema_generator=_WithoutFieldTitles
        )
        self.schemas: Json = {**definitions.get("$defs", {}), **_shared_schemas()}

    def paths(self) -> Json:
        paths: Json = {}
        if ping := self._forms.get("ping"):
            paths[PING_PATH] = {"get": self._call(ping, "helloPing")}
        if echo := self._forms.get("echo"):
            text = {"name": "text", "in": "query", "required": True, "schema": {"type": "string"}}
            paths[ECHO_PATH] = {
                "get": {**self._call(echo, "helloEcho"), "parameters": [{**text, "example": "hello"}]},
                "post": {**self._call(echo, "helloEchoPost"), **_REPEATABLE, "requestBody": self._body(echo)},
            }
        paths[ACTIONS_PATH] = {"get": _catalogue_operation(), "post": self._generic()}
        for name, form in self._forms.items():
            operation = {**self._call(form, name), **_REPEATABLE, "requestBody": self._body(form)}
            paths[f"{ACTIONS_PATH}/{name}"] = {"post": operation}
        return paths

    def _call(self, form: Form, operation_id: str) -> Json:
        action = form.action
        operation: Json = {
            "operationId": operation_id,
            "tags": ["actions"],
            "summary": (action.description or action.signature).partition("\n")[0],
            "description": f"Scope: {'none, it is public' if action.public else action.scope}. "
            f"Units: {action.units}.",
            "security": [{"bearer": []}, {"apiKey": []}, *([{}] if action.public else [])],
            "responses": _answers(self._refs[form.result, "serialization"]),
        }
        if action.deprecation_reason is not None:
            operation["deprecated"] = True
            operation["description"] += f" Deprecated: {action.deprecation_reason}"
        return operation

    def _body(self, form: Form) -> Json:
        schema = self._refs[form.arguments, "validation"]
        content = {"schema": schema, "example": self._example(schema)}
        required = any(each.is_required for each in form.action.parameters)
        return {"required": required, "content": {"application/json": content}}

    def _generic(self) -> Json:
        envelope = {
            "type": "object",
            "additionalProperties": False,
            "required": ["action"],
            "properties": {
                "action": {"type": "string", "enum": list(self._forms)},
                "arguments": {"type": "object", "description": "As the action's own path takes them."},
            },
        }
        example = {"action": "echo", "arguments": {"text": "hello"}}
        return {
            "operationId": "callAction",
            "tags": ["actions"],
            "summary": "Call the action that the body names.",
            **_REPEATABLE,
            "security": [{"bearer": []}, {"apiKey": []}, {}],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": envelope, "example": example}},
            },
            "responses": _answers({"type": "object", "required": ["data"], "properties": {"data": {}}}),
        }

    def _example(self, schema: Json) -> object:
        """Return a value the schema allows: of each kind the plainest, and only what is required."""
        if reference := schema.get("$ref"):
            return self._example(self.schemas[reference.rpartition("/")[2]])
        if "enum" in schema or "const" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        if "anyOf" in schema:
            return self._example(schema["anyOf"][0])
        if schema.get("type") == "array":
            return [self._example(schema["items"])]
        if properties := schema.get("properties"):
            return {name: self._example(properties[name]) for name in schema.get("required", ())}
        return _EXAMPLES.get(schema.get("format") or schema.get("type", ""), {})


class _WithoutFieldTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _answers(result: Json) -> Json:
    content = {"schema": {"allOf": [result, {"$ref": _REF.format(model="Answer")}]}}
    names = ("RateLimit-Policy", "RateLimit", "X-Request-Id", *_OF_A_REPLAY)
    answered = {
        "description": "The result, after its charge was committed.",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/json": content},
    }
    statuses = sorted({problem_of(error).status for error in refusals()})
    refused = {str(status): {"$ref": f"#/components/responses/Refused{status}"} for status in statuses}
    return {"200": answered, **refused}


def _catalogue_operation() -> Json:
    schema = {
        "type": "object",
        "required": ["actions"],
        "properties": {"actions": {"type": "array", "items": {"$ref": _REF.format(model="Action")}}},
    }
    return {
        "operationId": "listActions",
        "tags": ["actions"],
        "summary": "List the actions.",
        "security": [{}],
        "responses": {
            "200": {"description": "Every action.", "content": {"application/json": {"schema": schema}}}
        },
    }


def _problem_responses() -> Json:
    responses: Json = {}
    for error in refusals():
        problem = problem_of(error)
        value = members_of(problem, f"{ACTIONS_PATH}/echo", _EXAMPLE_ID)
        response = responses.setdefault(
            f"Refused{problem.status}",
            {
                "description": HTTPStatus(problem.status).phrase,
                "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
                "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}, "examples": {}}},
            },
        )
        examples = response["content"][MEDIA_TYPE]["examples"]
        examples[f"{problem.code}-{type(error).__name__}"] = {"summary": problem.title, "value": value}
        for name in sorted(problem.headers.keys() & _headers().keys()):
            response["headers"][name] = {"$ref": f"#/components/headers/{name}"}
    return responses


def _headers() -> Json:
    texts = {
        "RateLimit-Policy": 'The limits that apply, such as `"minute";q=60;w=60`.',
        "RateLimit": 'What is left of them, such as `"minute";r=59;t=42`.',
        "Idempotency-Replayed": "`true` when this is the stored reply to an earlier request, free of charge.",
        "X-Original-Request-Id": "The id of the request whose reply this is, when it is a stored one.",
        "Retry-After": "Seconds after which a retry can succeed.",
        "WWW-Authenticate": "How to present a key (RFC 6750).",
        "X-Request-Id": "The id of this request; quote it when you report a fault.",
    }
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()}


def _shared_schemas() -> Json:
    text, number = {"type": "string"}, {"type": "integer", "minimum": 0}
    optional = {"type": ["string", "null"]}
    problem = {
        "type": {"type": "string", "format": "uri-reference"},
        "title": text,
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do next."},
        "instance": {"type": "string", "format": "uri-reference"},
        "code": {"type": "string", "description": "Keeps its meaning for ever; actions may have their own."},
        "requestId": text,
    }
    described = {
        **{name: text for name in ("name", "fieldName", "signature", "kind", "charge", "returns")},
        **{name: optional for name in ("description", "scope", "rate", "deprecationReason")},
        "units": number,
        "public": {"type": "boolean"},
        "parameters": {"type": "array", "items": {"type": "object"}},
    }
    retry = {"retryAfter": {"type": "integer", "description": "Seconds after which a retry can succeed."}}
    return {
        "Problem": _object(problem, retry),
        "Answer": _object({"units": number, "requestId": text}, {}),
        "Action": _object(described, {}),
    }


def _object(required: Json, optional: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}
