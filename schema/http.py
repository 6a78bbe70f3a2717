"""The door of GraphQL: one raw ASGI class from the socket's messages to the guard and back.

parse HTTP -> document -> survey -> guard.admit -> execute -> guard.settle -> reply. Refusals of the guard
carry their real status for every client; nothing that costs units leaves before `settle` has returned.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphql import OperationType

from api_factory.credentials import Credentials, from_headers
from api_factory.errors import (
    ApiFactoryError,
    CostLimitExceeded,
    InternalError,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    Unavailable,
)
from api_factory.ids import uuid7
from schema.build import GuardedSchema
from schema.context import Context
from schema.documents import Documents
from schema.execution import Prepared, execute, failed_calls, prepare
from schema.graphiql import ASSETS_PATH, PAGE_HEADERS, PATH, page, send_asset
from schema.media import HTML, JSON, negotiate, wants_page
from schema.refusals import DocumentRefused
from schema.reply import Reply, Written, refuse, refuse_document, write_result
from schema.request import ClientGone, GraphQLRequest, headers_of, read_request

if TYPE_CHECKING:
    from api_factory.guard import Admission
    from api_factory.wiring import Engine

LOGGER = logging.getLogger("api_factory.graphql")


class GraphQLHTTP:
    """Serves `/graphql` by POST and GET, and the files of GraphiQL below it.

    Guarantees: never a stack trace, never more than five errors for a refused request, `extensions.code` on
    every error, and no log of level error for a client's mistake. It leaves its `code` in `scope["state"]`.
    """

    def __init__(self, engine: Engine, schema: GuardedSchema) -> None:
        """Serve one schema; documents are remembered within bounds."""
        self._engine = engine
        self._schema = schema
        self._documents = Documents(schema.core)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        if scope["path"].startswith(ASSETS_PATH) and not self._engine.settings.is_production:
            await send_asset(scope, send)
            return
        state = scope.setdefault("state", {})
        is_identified = "request_id" in state
        request_id: str = state.setdefault("request_id", uuid7().hex)
        try:
            reply = await self._reply(scope, receive, request_id)
        except ClientGone:
            state["code"] = "BAD_USER_INPUT"
            return
        state["code"] = reply.code
        if not is_identified:
            # Whoever identified the request also sends its id.
            reply = replace(reply, headers={**reply.headers, "X-Request-Id": request_id})
        await reply.send(send)

    async def _reply(self, scope: Any, receive: Any, request_id: str) -> Reply:
        headers = headers_of(scope["headers"])
        accept = headers.get(b"accept", "")
        if self._is_for_page(scope, accept):
            return Reply(200, page(), HTML, "OK", PAGE_HEADERS)
        media = negotiate(accept)
        try:
            if scope["path"].rstrip("/") != PATH:
                raise NotFound(f"There is nothing here; GraphQL is at {PATH}.")
            if media is None:
                raise NotAcceptable
            request = await read_request(scope, headers, receive, self._engine.settings.max_body_bytes)
            credentials = from_headers(scope["headers"], _address(scope))
            return await self._answer(request, credentials, media, request_id)
        except DocumentRefused as refused:
            return refuse_document(refused, media or JSON)
        except ApiFactoryError as error:
            return refuse(error, media or JSON, request_id)
        except ClientGone:
            raise
        except Exception:
            LOGGER.exception("a request failed")
            return refuse(InternalError(), media or JSON, request_id)

    def _is_for_page(self, scope: Any, accept: str) -> bool:
        is_open = not self._engine.settings.is_production and scope["path"] == PATH
        return is_open and scope["method"] == "GET" and wants_page(accept)

    async def _answer(
        self, request: GraphQLRequest, credentials: Credentials, media: str, request_id: str
    ) -> Reply:
        prepared = self._prepare(request)
        guard = self._engine.guard
        admission = await guard.admit(credentials, prepared.survey.ask, request_id)
        try:
            written = await self._execute(prepared, admission, media, request_id)
            await guard.settle(admission)
        except BaseException:
            await guard.abandon(admission)
            raise
        return Reply(written.status, written.body, media, written.code, admission.headers())

    def _prepare(self, request: GraphQLRequest) -> Prepared:
        document = self._documents.read(request.query)
        operation = document.operation(request.operation_name)
        if request.is_get and operation.operation is not OperationType.QUERY:
            raise MethodNotAllowed("Only queries can be sent by GET; use POST.", headers={"Allow": "POST"})
        prepared = prepare(self._schema, document, operation, request.variables)
        maximum = self._engine.settings.max_operation_cost
        if prepared.survey.cost > maximum:
            raise CostLimitExceeded(cost=prepared.survey.cost, maximum=maximum)
        return prepared

    async def _execute(
        self, prepared: Prepared, admission: Admission, media: str, request_id: str
    ) -> Written:
        context = Context(self._engine, admission, request_id, prepared.survey, self._schema.presentations)
        seconds = self._engine.settings.operation_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                result = await execute(prepared, context)
        except TimeoutError:
            raise Unavailable(
                f"The operation ran longer than {seconds:g} s and was given up; ask for less at once."
            ) from None
        written = write_result(result, media, request_id)
        lost = [prepared.survey.calls[key] for key in written.lost if key in prepared.survey.calls]
        for index in (*failed_calls(result, prepared.survey), *lost):
            admission.fail(index)
        return written


def _address(scope: Any) -> str:
    address = scope["state"].get("address")
    if address is None:
        client = scope.get("client")
        address = client[0] if client else ""
    return str(address)
