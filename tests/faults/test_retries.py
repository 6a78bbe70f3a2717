"""A client that asks again until it is answered: one charge and one outcome, whatever was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from dataclasses import dataclass, field

import httpx

from tests.faults.clients import UNITS, client
from tests.faults.conftest import Rounds
from tests.faults.ground import Customer, Ground
from tests.faults.waiting import until

CLIENTS = 12
RETRY_SECONDS = 0.05


@dataclass
class Wish:
    """One thing to be done once, and what was tried for it."""

    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    request_ids: set[str] = field(default_factory=set)
    outcome: bytes = b""

    async def send(self, via: httpx.AsyncClient, url: str, secret: str) -> httpx.Response | None:
        """Ask once; None when the connection broke."""
        request_id = uuid.uuid4().hex
        self.request_ids.add(request_id)
        headers = {
            "Authorization": f"Bearer {secret}",
            "Idempotency-Key": self.key,
            "X-Request-Id": request_id,
        }
        try:
            return await via.post(f"{url}/api/v1/actions/book", json={"milliseconds": 20}, headers=headers)
        except httpx.TransportError:
            return None


async def _insist(ground: Ground, customer: Customer, wishes: list[Wish], is_over: asyncio.Event) -> None:
    async with client() as via:
        while not is_over.is_set():
            wish = Wish()
            while not wish.outcome:
                reply = await wish.send(via, ground.source.choice(ground.urls), customer.secret)
                if reply is not None and reply.status_code == 200:
                    wish.outcome = reply.content
                    break
                assert reply is None or reply.status_code in (409, 503), reply.text
                await asyncio.sleep(RETRY_SECONDS)
            wishes.append(wish)


async def test_who_retries_through_a_killed_worker_is_charged_once_and_gets_one_outcome(
    ground: Ground, rounds: Rounds
) -> None:
    """Broken by storing the outcome after the charge has committed: killed in between, charged twice."""
    customer = await ground.customer()
    wishes: list[Wish] = []
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(_insist(ground, customer, wishes, is_over))
        for _ in rounds(2):
            before = len(wishes)
            await until(lambda: len(wishes) > before + CLIENTS, "wishes are fulfilled")  # noqa: B023
            await asyncio.sleep(ground.source.uniform(0, 0.3))
            os.kill(ground.source.choice(ground.source.choice(ground.servers).workers), signal.SIGKILL)
            await ground.ready()
        is_over.set()
    await ground.nothing_held(customer)
    charged = await ground.charged(customer)
    assert [sum(charged[each] for each in wish.request_ids) for wish in wishes] == [1] * len(wishes)
    assert await ground.counters(customer) == [(UNITS["book"] * len(wishes), 0)]
    await _retries_get_the_same(ground, customer, wishes)


async def _retries_get_the_same(ground: Ground, customer: Customer, wishes: list[Wish]) -> None:
    used = await ground.counters(customer)
    async with client() as via:
        for wish in wishes[-CLIENTS:]:
            for url in ground.urls:
                reply = await wish.send(via, url, customer.secret)
                assert reply is not None
                assert (reply.status_code, reply.content) == (200, wish.outcome)
    assert await ground.counters(customer) == used
