"""The door of GraphQL: one raw ASGI class from the socket's messages to the guard and back.

parse HTTP -> document -> survey -> guard.admit -> execute -> guard.settle -> reply. Refusals of the guard
carry their real status for every client; nothing that costs units leaves before `settle` has returned.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from graphql import ExecutionResult, OperationType

from api_factory import log
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
from api_factory.ids import new_request_id
from api_factory.usage import IdempotencyRequest, Outcome, idempotency_request
from schema.arrival import Arrivals
from schema.build import GuardedSchema
from schema.context import Context
from schema.costs import priced, with_cost
from schema.documents import Documents
from schema.execution import Prepared, execute, failed_calls, prepare
from schema.graphiql import ASSETS_PATH, PAGE_HEADERS, PATH, Asset, find_asset, page, send_asset
from schema.media import HTML, JSON, negotiate, wants_page
from schema.refusals import DocumentRefused
from schema.remembered import Remembered
from schema.reply import Reply, Written, refuse, refuse_document, write_result
from schema.request import ClientGone, GraphQLRequest, Headers, headers_of, read_request
from schema.sources import Sources
from schema.trusted import load_trusted
from schema.unseen import UnseenDocuments

if TYPE_CHECKING:
    from api_factory.guard import Admission
    from api_factory.wiring import Engine

LOGGER = logging.getLogger("api_factory.graphql")

PLANS_SECONDS: Final = 1.0
NOTHING_RUN: Final = Written(b'{"data":{}}', 200, "OK")
"""What a dry run comes to, without its cost."""


class GraphQLHTTP:
    """Serves `/graphql` by POST and GET, and the files of GraphiQL below it.

    Guarantees: never a stack trace, never more than five errors for a refused request, `extensions.code` on
    every error, and no log of level error for a client's mistake. It leaves its `code` in `scope["state"]`,
    and `no_compression` where the reply holds a secret.
    """

    def __init__(self, engine: Engine, schema: GuardedSchema) -> None:
        """Serve one schema; documents are remembered within bounds.

        Raises:
            ConfigurationError: The manifest of trusted documents cannot be read or does not fit the schema.
        """
        self._engine = engine
        self._schema = schema
        self._documents = Documents(schema.core)
        trusted = load_trusted(engine.settings.trusted_documents, self._documents)
        self._sources = Sources(self._documents, trusted, UnseenDocuments(engine))
        self._arrivals = Arrivals(engine.settings.body_timeout_seconds)
        # Everybody may ask for them, without a key and many times in one operation.
        self._plans = Remembered(lambda: engine.plans.list(), PLANS_SECONDS, engine.clock.monotonic)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        asset = self._asset(scope)
        if asset is not None and scope["method"] in ("GET", "HEAD"):
            await send_asset(asset, scope, send)
            return
        state = scope.setdefault("state", {})
        is_identified = "request_id" in state
        if not is_identified:
            state["request_id"] = new_request_id()
        request_id: str = state["request_id"]
        try:
            reply = await self._reply(scope, receive, request_id)
        except ClientGone:
            state["code"] = "BAD_USER_INPUT"
            return
        state["code"] = reply.code
        if reply.has_secret:
            state["no_compression"] = True
        if not is_identified:
            # Whoever identified the request also sends its id.
            reply = reply._replace(headers={**reply.headers, "X-Request-Id": request_id})
        await reply.send(send)

    async def _reply(self, scope: Any, receive: Any, request_id: str) -> Reply:
        headers = headers_of(scope["headers"])
        accept = headers.get(b"accept", "")
        if self._is_for_page(scope, accept):
            return Reply(200, page(), HTML, "OK", PAGE_HEADERS)
        media = negotiate(accept)
        try:
            self._check_path(scope)
            if media is None:
                raise NotAcceptable
            max_body_bytes = self._engine.settings.max_body_bytes
            request = await read_request(scope, headers, receive, max_body_bytes, self._arrivals)
            credentials = from_headers(scope["headers"], _address(scope))
            idempotency = _idempotency(scope, headers, request)
            return await self._answer(request, credentials, media, request_id, idempotency)
        except DocumentRefused as refused:
            return refuse_document(refused, media or JSON)
        except ApiFactoryError as error:
            return refuse(error, media or JSON, request_id)
        except ClientGone:
            raise
        except Exception:
            LOGGER.exception("a request failed")
            return refuse(InternalError(), media or JSON, request_id)

    def _asset(self, scope: Any) -> Asset | None:
        path = scope["path"]
        is_below = path.startswith(ASSETS_PATH) and not self._engine.settings.is_production
        return find_asset(path) if is_below else None

    def _check_path(self, scope: Any) -> None:
        if self._asset(scope) is not None:
            raise MethodNotAllowed(headers={"Allow": "GET, HEAD"})
        if scope["path"].rstrip("/") != PATH:
            raise NotFound(f"There is nothing here; GraphQL is at {PATH}.")

    def _is_for_page(self, scope: Any, accept: str) -> bool:
        is_open = not self._engine.settings.is_production and scope["path"] == PATH
        return is_open and scope["method"] == "GET" and wants_page(accept)

    async def _answer(
        self,
        request: GraphQLRequest,
        credentials: Credentials,
        media: str,
        request_id: str,
        idempotency: IdempotencyRequest | None,
    ) -> Reply:
        prepared = self._prepare(request, credentials)
        guard = self._engine.guard
        ask = prepared.survey.ask
        if request.is_dry_run:
            ask, idempotency = priced(ask), None
        admission = await guard.admit(credentials, ask, request_id, idempotency)
        self._sources.admitted(request, prepared.document, admission)
        if admission.caller.key_id:
            log.bind(account_id=admission.caller.account_id, key_id=admission.caller.key_id)
        if admission.replay is not None:
            return _replay(admission.replay, admission)
        try:
            if request.wants_cost:
                written = await self._execute_with_cost(request, prepared, admission, media, request_id)
            else:
                written = await self._execute(prepared, admission, media, request_id)
            await guard.settle(admission, _outcome(written, media, admission))
        except BaseException as error:
            await guard.abandon(admission)
            if isinstance(error, ApiFactoryError):
                admission.show_limits(error)
            raise
        has_secret = prepared.survey.ask.shows_secret
        return Reply(written.status, written.body, media, written.code, admission.headers(), has_secret)

    def _prepare(self, request: GraphQLRequest, credentials: Credentials) -> Prepared:
        document = self._sources.find(request, credentials)
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
        result = await self._run(prepared, admission, request_id)
        written = write_result(result, media, request_id)
        lost = [prepared.survey.calls[key] for key in written.lost if key in prepared.survey.calls]
        for index in (*failed_calls(result, prepared), *lost):
            admission.fail(index)
        return written

    async def _execute_with_cost(
        self,
        request: GraphQLRequest,
        prepared: Prepared,
        admission: Admission,
        media: str,
        request_id: str,
    ) -> Written:
        if request.is_dry_run:
            written = NOTHING_RUN
        else:
            written = await self._execute(prepared, admission, media, request_id)
        maximum = self._engine.settings.max_operation_cost
        return written._replace(body=with_cost(written.body, prepared.survey, admission, maximum))

    async def _run(self, prepared: Prepared, admission: Admission, request_id: str) -> ExecutionResult:
        """Execute within the time allowed.

        A query that takes longer is given up whole. What a mutation has done by then is done, so it is
        answered and charged, and only what is left of it is given up.
        """
        seconds = self._engine.settings.operation_timeout_seconds
        deadline = asyncio.get_running_loop().time() + seconds
        context = Context(
            engine=self._engine,
            admission=admission,
            request_id=request_id,
            survey=prepared.survey,
            presentations=self._schema.presentations,
            plans=self._plans,
            deadline=deadline if prepared.is_mutation else None,
        )
        if prepared.is_mutation:
            return await execute(prepared, context)
        try:
            async with asyncio.timeout_at(deadline):
                return await execute(prepared, context)
        except TimeoutError:
            raise Unavailable(
                f"The operation ran longer than {seconds:g} s and was given up; ask for less at once."
            ) from None


def _idempotency(scope: Any, headers: Headers, request: GraphQLRequest) -> IdempotencyRequest | None:
    text = headers.get(b"idempotency-key")
    if text is None:
        return None
    return idempotency_request(
        text, method=scope["method"], path=scope["path"], query=scope["query_string"], body=request.body
    )


def _outcome(written: Written, media: str, admission: Admission) -> Outcome | None:
    if admission.entry is None:
        return None
    return Outcome(
        written.status, written.code, media, written.body, admission.request_id, written.is_passing
    )


def _replay(outcome: Outcome, admission: Admission) -> Reply:
    return Reply(outcome.status, outcome.body, outcome.media, outcome.code, admission.headers())


def _address(scope: Any) -> str:
    address = scope["state"].get("address")
    if address is None:
        client = scope.get("client")
        address = client[0] if client else ""
    return str(address)
