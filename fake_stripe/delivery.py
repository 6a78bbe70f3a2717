"""Webhook deliveries: signed, one after another, tried again for three days.

https://docs.stripe.com/webhooks#automatic-retries
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress

import httpx

from fake_stripe.faults import spoil_delivery
from fake_stripe.resources.webhook_endpoints import secrets_of
from fake_stripe.signing import signature
from fake_stripe.versions import rendered
from fake_stripe.world import Resource, World

LOGGER = logging.getLogger("fake_stripe")

RETRY_SECONDS = (5, 60, 300, 1_800, 7_200, 21_600, 43_200, 86_400, 86_400)
"""The waits between tries, on this account's clock: three days in all."""

_TIMEOUT_SECONDS = 20
_TICK_SECONDS = 0.25
_KEPT_BODY_CHARACTERS = 500


class Courier:
    """Sends what is due, in the order in which it was queued, unless a fault says otherwise."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._news = asyncio.Event()
        self._is_sending = False
        world.notify = self._news.set

    async def run(self) -> None:
        """Send until cancelled."""
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), _TICK_SECONDS)
                self._news.clear()
                try:
                    await self._send_due(client)
                except Exception:  # one delivery must not end all that follow
                    LOGGER.exception("a delivery could not be made")

    async def _send_due(self, client: httpx.AsyncClient) -> None:
        self._is_sending = True
        try:
            while batch := self._due():
                for delivery in batch:
                    await self._deliver(client, delivery)
        finally:
            self._is_sending = False

    async def settle(self, timeout_seconds: float) -> bool:
        """Wait until nothing is due; false when there still is something after the time."""
        deadline = time.monotonic() + timeout_seconds
        while self._is_sending or self._due():
            if time.monotonic() > deadline:
                return False
            self._news.set()
            await asyncio.sleep(0.01)
        return True

    def _due(self) -> list[Resource]:
        now = self._world.now()
        for delivery in self._world.all("_delivery"):
            if delivery["state"] == "fresh":
                spoil_delivery(self._world, delivery)
                if delivery["state"] == "dropped":
                    _file(self._world, delivery)
        due = [
            one for one in self._world.all("_delivery") if one["state"] == "waiting" and one["due_at"] <= now
        ]
        return sorted(due, key=lambda one: one.get("place", 0.0))

    async def _deliver(self, client: httpx.AsyncClient, delivery: Resource) -> None:
        world = self._world
        endpoint = world.find("webhook_endpoint", delivery["endpoint"])
        event = world.find("event", delivery["event"])
        if endpoint is None or event is None:
            delivery["state"] = "dropped"
            _file(world, delivery)
            return
        body = _body(event, endpoint, delivery)
        for _ in range(delivery.get("copies", 1)):
            headers = _headers(world, endpoint, delivery, body)
            status, answer = await _post(client, endpoint["url"], body, headers)
            delivery["attempts"].append(
                {"at": world.now(), "status": status, "answer": answer[:_KEPT_BODY_CHARACTERS]}
            )
        delivery["copies"] = 1
        _conclude(world, delivery, event, is_taken=200 <= status < 300)


def _conclude(world: World, delivery: Resource, event: Resource, *, is_taken: bool) -> None:
    if is_taken:
        delivery["state"] = "delivered"
        event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
        _file(world, delivery)
        return
    tries = delivery.get("tries", 0)
    delivery["tries"] = tries + 1
    if tries < len(RETRY_SECONDS):
        delivery["due_at"] = world.now() + RETRY_SECONDS[tries]
        return
    delivery["state"] = "failed"
    _file(world, delivery)


def _file(world: World, delivery: Resource) -> None:
    # What is over goes to a table of its own: the open ones are looked through several times a second.
    if world.find("_delivery", delivery["id"]) is delivery:  # not emptied meanwhile
        world.remove(delivery)
        world.add(delivery | {"object": "_done_delivery"})


def _body(event: Resource, endpoint: Resource, delivery: Resource) -> bytes:
    version = delivery.get("api_version") or endpoint["api_version"]
    return json.dumps(rendered(event, version), indent=2).encode()


def _headers(world: World, endpoint: Resource, delivery: Resource, body: bytes) -> dict[str, str]:
    secrets = ["whsec_wrong"] if delivery.get("has_wrong_secret") else secrets_of(world, endpoint)
    # The receiver judges the age by its own clock, so the machine's time signs and not this account's.
    moment = int(time.time()) - delivery.get("signed_ago_seconds", 0)
    return {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature(body, secrets, moment),
    }


async def _post(client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """Return the status and the answer; 0 where nobody answered. Redirects are not followed, as at Stripe."""
    try:
        response = await client.post(url, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return 0, type(error).__name__
    return response.status_code, response.text
