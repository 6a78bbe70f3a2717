"""The limit: an ASGI application that reads the body and sends the same bytes as the others, no more.

What a framework, a guard and a ledger cost is the distance to it, on the same server with the same options.
"""

from __future__ import annotations

from typing import Any

import orjson

from bench.peers.items import ITEMS
from bench.requests import CALL_REPLY, LIST_PATH

_CALL = orjson.dumps({"data": CALL_REPLY})
_LIST = orjson.dumps({"data": {"items": ITEMS}})


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request, or the lifespan."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    while (await receive()).get("more_body", False):
        pass
    body = _LIST if scope["path"] == LIST_PATH else _CALL
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
