"""Many clients that call at once and remember what they asked and what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.faults.waiting import until

HANG_SECONDS = 15.0
"""No request may take longer: 3 s to read a key and 5 s to commit, and as much again for a slow machine."""

_TLS = ssl.create_default_context()  # made once: it costs more than a client does
UNITS = {"work": 1, "book": 2, "hold": 3, "linger": 1}


@dataclass(frozen=True, slots=True)
class Call:
    """One request as its client saw it; `status` None is a connection that broke."""

    request_id: str
    action: str
    began: float
    ended: float
    status: int | None
    code: str = ""
    message: str = ""
    retry_after: str | None = None
    remaining: int | None = None

    @property
    def seconds(self) -> float:
        """How long its client waited."""
        return self.ended - self.began


def client() -> httpx.AsyncClient:
    """Return a client of its own, with a connection of its own."""
    return httpx.AsyncClient(trust_env=False, verify=_TLS, timeout=httpx.Timeout(HANG_SECONDS * 2))


async def call(
    via: httpx.AsyncClient, url: str, secret: str, action: str = "work", **arguments: object
) -> Call:
    """Call an action: queries by GraphQL, mutations by REST."""
    request_id = uuid.uuid4().hex
    headers = {"Authorization": f"Bearer {secret}", "X-Request-Id": request_id}
    began = time.monotonic()
    try:
        if action == "work":
            milliseconds = arguments.get("milliseconds", 0)
            query = {"query": f"{{ work(milliseconds: {milliseconds}) }}"}
            reply = await via.post(f"{url}/graphql", json=query, headers=headers)
        else:
            reply = await via.post(f"{url}/api/v1/actions/{action}", json=arguments, headers=headers)
    except httpx.TransportError:
        return Call(request_id, action, began, time.monotonic(), None)
    return Call(
        request_id,
        action,
        began,
        time.monotonic(),
        reply.status_code,
        *_refusal(reply),
        reply.headers.get("retry-after"),
        _remaining(reply.headers.get("ratelimit", "")),
    )


def _refusal(reply: httpx.Response) -> tuple[str, str]:
    content = reply.json()
    errors = content.get("errors")
    if reply.status_code == 200:
        assert not errors, content
        return "OK", ""
    if errors:
        return errors[0]["extensions"]["code"], errors[0]["message"]
    return content["code"], content["detail"]


def _remaining(header: str) -> int | None:
    _, found, rest = header.partition('"quota";r=')
    return int(rest.partition(";")[0]) if found else None


class Load:
    """Clients that call without a pause until they are told to stop."""

    def __init__(
        self,
        urls: Sequence[str],
        secret: str,
        *,
        clients: int = 16,
        actions: Sequence[str] = ("work", "book"),
        longest_milliseconds: int = 20,
        source: random.Random,
    ) -> None:
        """Spread the clients over the servers."""
        self.calls: list[Call] = []
        self._urls = urls
        self._secret = secret
        self.clients = clients
        self._actions = actions
        self._longest_milliseconds = longest_milliseconds
        self._source = source
        self._is_over = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Call meanwhile; at the end every client has had its answer."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                group.create_task(self._go_on(self._urls[number % len(self._urls)]))
            try:
                yield self
            finally:
                self._is_over = True

    def count(self, status: int | None, *, since: float = 0.0) -> int:
        """Count the calls that ended so and began after a moment."""
        return sum(1 for each in self.calls if each.status == status and each.began >= since)

    @property
    def statuses(self) -> Counter[int | None]:
        """How the calls ended."""
        return Counter(each.status for each in self.calls)

    async def _go_on(self, url: str) -> None:
        async with client() as via:
            while not self._is_over:
                action = self._source.choice(self._actions)
                milliseconds = self._source.randint(0, self._longest_milliseconds)
                answer = await call(via, url, self._secret, action, milliseconds=milliseconds)
                self.calls.append(answer)
                if answer.status is None:
                    await asyncio.sleep(0.05)  # nobody is there: do not burn the machine


class Standing:
    """Calls that are admitted and stand at a gate, their actions not ended, until they are let go."""

    def __init__(self, directory: Path) -> None:
        """Take where the gates are."""
        self._directory = directory
        self._calls: dict[Path, asyncio.Task[Call]] = {}

    async def send(self, via: httpx.AsyncClient, url: str, secret: str, action: str) -> None:
        """Send one call more and return when its action runs."""
        gate = self._directory / uuid.uuid4().hex
        self._calls[gate] = asyncio.create_task(call(via, url, secret, action, gate=str(gate)))
        await until(gate.with_name(f"{gate.name}.reached").exists, "the action runs")

    async def let_go(self) -> list[Call]:
        """Open the gates and return how the calls ended."""
        for gate in self._calls:
            gate.touch()
        return [await each for each in self._calls.values()]


async def race(urls: Sequence[str], secret: str, action: str, *, calls: int, clients: int = 64) -> list[Call]:
    """Send so many calls from so many clients, each as fast as it can; return them all."""
    left = iter(range(calls))

    async def run(url: str) -> list[Call]:
        async with client() as via:
            return [await call(via, url, secret, action) for _ in left]

    done = await asyncio.gather(*(run(urls[number % len(urls)]) for number in range(clients)))
    return [each for one in done for each in one]
