"""Between our client and localstripe: takes away what it cannot be asked, and filters its answer by it.

localstripe answers 500 to a list of invoices by status, which Stripe can give. All else passes as it is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx


@contextmanager
def translating(target: str) -> Iterator[str]:
    """Pass requests on until the block ends; yields the address to use instead."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, status = _without_status(self.path)
            answer = self._ask("GET", path, b"")
            body = answer.content if status is None else _only(answer.json(), status)
            self._answer(answer.status_code, body)

        def do_POST(self) -> None:
            answer = self._ask("POST", self.path, self.rfile.read(int(self.headers["Content-Length"] or 0)))
            self._answer(answer.status_code, answer.content)

        def do_DELETE(self) -> None:
            answer = self._ask("DELETE", self.path, b"")
            self._answer(answer.status_code, answer.content)

        def _ask(self, method: str, path: str, body: bytes) -> httpx.Response:
            headers = {
                name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]
            }
            return httpx.request(method, target + path, content=body, headers=headers, trust_env=False)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _without_status(path: str) -> tuple[str, str | None]:
    parts = urlsplit(path)
    if parts.path != "/v1/invoices":
        return path, None
    query = dict(parse_qsl(parts.query))
    status = query.pop("status", None)
    return f"{parts.path}?{urlencode(query)}", status


def _only(answer: dict[str, Any], status: str) -> bytes:
    kept = [one for one in answer["data"] if one["status"] == status]
    return json.dumps({**answer, "data": kept}).encode()
