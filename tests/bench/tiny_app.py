"""An ASGI application for the tests: knows one key, and answers as TINY says."""

from __future__ import annotations

import os
from typing import Any

from bench.requests import CALL_REPLY

REPLIES = {"right": {"data": CALL_REPLY}, "wrong": {"data": None}}


async def app(scope: Any, receive: Any, send: Any) -> None:
    import orjson

    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    is_known = os.environ["TINY"] == "open" or (b"authorization", b"Bearer known") in scope["headers"]
    body = orjson.dumps(REPLIES.get(os.environ["TINY"], REPLIES["right"])) if is_known else b"{}"
    await send({"type": "http.response.start", "status": 200 if is_known else 401, "headers": []})
    await send({"type": "http.response.body", "body": body})
