"""The REST mirror: the same catalogue through the same guard as GraphQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import api_factory
from api.bodies import read_body, read_object, read_query
from api.forms import Form
from api.openapi import ACTIONS_PATH, ECHO_PATH, OPENAPI_PATH, PING_PATH, document
from api.problems import MEDIA_TYPE as PROBLEM
from api.problems import ProblemResponse
from api_factory import log
from api_factory.actions import Action, ActionError, readable
from api_factory.credentials import from_headers
from api_factory.errors import ApiFactoryError, BadUserInput, InternalError, NotFound, Unavailable
from api_factory.guard import Admission, Ask, Guard
from api_factory.rates import format_rates
from api_factory.usage import IdempotencyRequest, Outcome, idempotency_request

LOGGER = logging.getLogger("api_factory.http")

JSON: Final = "application/json"

_ENVELOPE: Final = frozenset({"action", "arguments"})


class ActionRoutes:
    """Answers calls of actions with `{"data": …, "units": …, "requestId": …}`."""

    def __init__(
        self,
        guard: Guard,
        forms: Mapping[str, Form],
        timeout_seconds: float,
        *,
        body_timeout_seconds: float = 30.0,
    ) -> None:
        """Offer these actions; one that runs longer than the timeout is given up and costs nothing."""
        self._body_timeout_seconds = body_timeout_seconds
        self._guard = guard
        self._forms = forms
        self._asks = {name: _ask(form.action) for name, form in forms.items()}
        self._timeout_seconds = timeout_seconds
        self._openapi = orjson.dumps(document(forms, api_factory.__version__))
        self._catalogue = orjson.dumps({"actions": [_described(form.action) for form in forms.values()]})

    def routes(self) -> list[Route]:
        """Return the routes, each with the methods it takes."""
        return [
            _without_head(Route(PING_PATH, self.ping, methods=["GET"])),
            _without_head(Route(ECHO_PATH, self.echo, methods=["GET", "POST"])),
            Route(ACTIONS_PATH, self.actions, methods=["GET", "POST"]),
            Route(ACTIONS_PATH + "/{name}", self.named, methods=["POST"]),
            Route(OPENAPI_PATH, self.openapi, methods=["GET"]),
        ]

    async def ping(self, request: Request) -> Response:
        """Call `ping`, which needs no key."""
        return await self._call(request, "ping", read_query(request))

    async def echo(self, request: Request) -> Response:
        """Call `echo` with `text` from the query or, by POST, from the body."""
        arguments = await self._read(request) if request.method == "POST" else read_query(request)
        return await self._call(request, "echo", arguments)

    async def actions(self, request: Request) -> Response:
        """List the actions or, by POST, call the one that the body names."""
        if request.method != "POST":
            return Response(self._catalogue, media_type="application/json")
        name, arguments = _envelope(await self._read(request))
        return await self._call(request, name, arguments)

    async def named(self, request: Request) -> Response:
        """Call the action that the path names with the arguments in the body."""
        return await self._call(request, request.path_params["name"], await self._read(request))

    async def openapi(self, request: Request) -> Response:
        """Describe all of this in OpenAPI 3.1."""
        return Response(self._openapi, media_type="application/json")

    async def _read(self, request: Request) -> Mapping[str, object]:
        return await read_object(request, self._body_timeout_seconds)

    async def _idempotency(self, request: Request) -> IdempotencyRequest | None:
        texts = request.headers.getlist("idempotency-key")
        if not texts:
            return None
        scope = request.scope
        body = await read_body(request, self._body_timeout_seconds)
        return idempotency_request(
            ", ".join(texts),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            body=body,
        )

    async def _call(self, request: Request, name: str, arguments: Mapping[str, object]) -> Response:
        form = self._forms.get(name)
        if form is None:
            raise NotFound(f"There is no action of that name; GET {ACTIONS_PATH} lists them.")
        keywords = form.read(arguments)
        state = request.scope["state"]
        credentials = from_headers(request.scope["headers"], state["address"])
        idempotency = await self._idempotency(request)
        admission = await self._guard.admit(credentials, self._asks[name], state["request_id"], idempotency)
        if admission.caller.key_id:
            log.bind(account_id=admission.caller.account_id, key_id=admission.caller.key_id)
        if admission.replay is not None:
            state["code"] = admission.replay.code
            return _answer(admission.replay.body, admission, admission.replay.status, admission.replay.media)
        try:
            result = await self._run(admission, form, keywords)
            if isinstance(result, Exception):
                return await self._fail(result, admission, request)
            body = _with_facts(result, admission)
            await self._guard.settle(admission, _outcome(body, admission))
        except BaseException as error:
            await self._guard.abandon(admission)
            if isinstance(error, ApiFactoryError):
                admission.show_limits(error)
            raise
        return _answer(body, admission)

    async def _fail(self, error: Exception, admission: Admission, request: Request) -> Response:
        """Settle a failure too: it is recorded and costs nothing; a retry gets it unless it may pass."""
        response = ProblemResponse(error, request.scope)
        outcome = None
        if admission.entry is not None:
            is_passing = response.status_code >= 500 or "Retry-After" in response.headers
            code = request.scope["state"]["code"]
            body = bytes(response.body)
            outcome = Outcome(response.status_code, code, PROBLEM, body, admission.request_id, is_passing)
        await self._guard.settle(admission, outcome)
        for header, value in admission.headers().items():
            response.headers.setdefault(header, value)
        return response

    async def _run(
        self, admission: Admission, form: Form, keywords: Mapping[str, object]
    ) -> bytes | Exception:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                result = await admission.run(0, keywords)
            return form.write(result)
        except TimeoutError:
            seconds = f"{self._timeout_seconds:g}"
            return Unavailable(f"The action did not end within {seconds} s; nothing was charged.")
        except ValueError:
            # Checked before, so the author's object is not the same when it is read again.
            admission.fail(0)
            LOGGER.exception("action %s returned what it does not promise", form.action.name)
            return InternalError()
        except (ActionError, ApiFactoryError) as error:
            return error


def _ask(action: Action) -> Ask:
    scopes = frozenset[str]() if action.public else frozenset({action.scope})
    return Ask(
        calls=(action,),
        scopes=scopes,
        key_required=not action.public,
        is_mutation=action.kind == "mutation",
    )


def _without_head(route: Route) -> Route:
    # Starlette answers HEAD by running the GET, and what runs here costs units.
    if route.methods is not None:
        route.methods.discard("HEAD")
    return route


def _envelope(body: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    name, arguments = body.get("action"), body.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict) or not body.keys() <= _ENVELOPE:
        raise BadUserInput('Send {"action": NAME, "arguments": {…}} and nothing else.')
    return name, arguments


def _with_facts(written: bytes, admission: Admission) -> bytes:
    facts = orjson.dumps({"units": admission.units, "requestId": admission.request_id})
    # Both are JSON objects: `{"data":…}` and `{"units":…}` become one.
    return written[:-1] + b"," + facts[1:]


def _outcome(body: bytes, admission: Admission) -> Outcome | None:
    if admission.entry is None:
        return None
    return Outcome(200, "OK", JSON, body, admission.request_id)


def _answer(body: bytes, admission: Admission, status: int = 200, media: str = JSON) -> Response:
    headers = {"Cache-Control": "no-store", **admission.headers()}
    return Response(body, status, headers=headers, media_type=media)


def _described(action: Action) -> dict[str, object]:
    return {
        "name": action.name,
        "fieldName": action.field_name,
        "description": action.description,
        "signature": action.signature,
        "kind": action.kind,
        "units": action.units,
        "charge": action.charge,
        "scope": None if action.public else action.scope,
        "public": action.public,
        "rate": format_rates(action.rates) or None,
        "deprecationReason": action.deprecation_reason,
        "parameters": [
            {
                "name": each.field_name,
                "type": readable(each.annotation),
                "required": each.is_required,
                "description": each.description,
            }
            for each in action.parameters
        ],
        "returns": readable(action.returns),
    }
