"""A webhook endpoint of the tests: it keeps what arrives, and the official package verifies it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import stripe


@dataclass(frozen=True, slots=True)
class Delivery:
    """What arrived: the raw body and its signature."""

    body: bytes
    signature: str

    @property
    def event(self) -> Any:
        """The event as plain JSON."""
        return json.loads(self.body)

    def verify(self, secret: str) -> Any:
        """Return the event that the package makes of it, or raise its refusal."""
        return stripe.Webhook.construct_event(self.body, self.signature, secret)


@dataclass(slots=True)
class Receiver:
    """Where deliveries go; `answers` are the next statuses, 200 when there are none left."""

    url: str = ""
    deliveries: list[Delivery] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        """The types of what has arrived, in order."""
        return [delivery.event["type"] for delivery in self.deliveries]


@contextmanager
def listening() -> Iterator[Receiver]:
    """Listen on a free port until the block ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.deliveries.append(Delivery(body, self.headers["Stripe-Signature"]))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
