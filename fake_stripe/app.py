"""The server: Stripe's API under `/v1`, its pages, and the controls under `/_fake`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute

from fake_stripe import API_VERSION, agenda, control, faults, form, pages
from fake_stripe.delivery import Courier
from fake_stripe.errors import StripeError, invalid
from fake_stripe.expand import expanded
from fake_stripe.idempotency import Reply, remembered, store
from fake_stripe.keys import require_test_key
from fake_stripe.params import Params
from fake_stripe.router import Router
from fake_stripe.routes import ROUTES
from fake_stripe.state import save
from fake_stripe.world import Cause, World, shown

LOGGER = logging.getLogger("fake_stripe")

_TICK_SECONDS = 1.0
_MOST_BYTES = 1_000_000


class Server:
    """One account behind HTTP; each request changes it as a whole, one after another."""

    def __init__(self, world: World, state_path: str | None = None) -> None:
        self.world = world
        self.courier = Courier(world)
        self._state_path = state_path
        self._api = Router(ROUTES)
        self._controls = Router(control.ROUTES)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        methods = ["GET", "POST", "DELETE"]
        return Starlette(
            routes=[
                HttpRoute("/_fake/settle", self.settle, methods=["POST"]),
                HttpRoute("/_fake{path:path}", self.control, methods=methods),
                HttpRoute("/v1/{path:path}", self.api, methods=methods),
                *pages.routes(self.world, self.save),
            ],
            lifespan=self._lifespan,
        )

    async def api(self, request: Request) -> Response:
        """Answer as Stripe's API does."""
        request_id = self.world.new_id("req")
        headers = {
            "Request-Id": request_id,
            "Stripe-Version": request.headers.get("stripe-version", API_VERSION),
        }
        try:
            reply = await self._answer(request, request_id)
        except StripeError as error:
            reply = Reply(error.status, {"error": error.body | {"request_log_url": None}}, error.headers)
        if request.method != "GET":
            self.save()
        return JSONResponse(reply.body, reply.status, headers | reply.headers)

    async def control(self, request: Request) -> Response:
        """Answer a control: JSON in, JSON out."""
        try:
            handler, names = self._controls.match(request.method, request.url.path)
            params = Params(await _json(request) if request.method == "POST" else dict(request.query_params))
            body = shown(handler(self.world, params, **names))
        except StripeError as error:
            return JSONResponse({"error": error.body}, error.status)
        if request.method != "GET":
            self.save()
        return JSONResponse(body)

    async def settle(self, request: Request) -> Response:
        """Answer when nothing is left to deliver."""
        return JSONResponse(await control.settle(self.courier, await _json(request)))

    def save(self) -> None:
        """Keep the account in the state file, where there is one."""
        if self._state_path is not None:
            save(self.world, self._state_path)

    async def _answer(self, request: Request, request_id: str) -> Reply:
        require_test_key(request.headers.get("authorization", ""))
        query = (
            request.url.query if request.method != "POST" else (await _body(request)).decode(errors="replace")
        )
        bad_moments = faults.struck(self.world, faults.OF_ANSWERS, f"{request.method} {request.url.path}")
        _raise_first(bad_moments, is_after=False)
        reply = self._execute(request, query, request_id)
        for fault in bad_moments:
            if fault["kind"] == "timeout":
                await asyncio.sleep(fault["seconds"] or 30)
        _raise_first(bad_moments, is_after=True)
        return reply

    def _execute(self, request: Request, query: str, request_id: str) -> Reply:
        method, path = request.method, request.url.path
        key = request.headers.get("idempotency-key") if method == "POST" else None
        if key is not None and (earlier := remembered(self.world, key, path, query)):
            return earlier
        handler, names = self._api.match(method, path)
        values = form.decode(query)
        paths = Params({"expand": values.pop("expand", None)}).texts("expand") or []
        self.world.cause = Cause(request_id, key)
        try:
            body = expanded(self.world, handler(self.world, Params(values), **names), paths)
            reply = Reply(200, body)
        except StripeError as error:
            if error.status != 402:
                raise
            reply = Reply(error.status, {"error": error.body})
        finally:
            self.world.cause = Cause()
        if key is not None:
            store(self.world, key, path, query, reply, request_id)
        return reply

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.courier.run()), asyncio.create_task(self._keep_time())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            self.save()

    async def _keep_time(self) -> None:
        while True:
            try:
                if agenda.catch_up(self.world):
                    self.save()
            except Exception:  # what one object trips over must not stop the clock for the others
                LOGGER.exception("something that fell due could not be done")
            await asyncio.sleep(_TICK_SECONDS)


def _raise_first(bad_moments: list[dict[str, Any]], *, is_after: bool) -> None:
    for fault in bad_moments:
        if fault["kind"] != "timeout" and fault["is_after"] == is_after:
            raise faults.refusal(fault)


async def _body(request: Request) -> bytes:
    body = await request.body()
    if len(body) > _MOST_BYTES:
        raise invalid("The request is too large.")
    return body


async def _json(request: Request) -> dict[str, Any]:
    body = await _body(request)
    try:
        values = json.loads(body or b"{}")
    except ValueError:
        raise invalid("The request is not JSON.") from None
    if not isinstance(values, dict):
        raise invalid("The request is no JSON object.")
    return values
