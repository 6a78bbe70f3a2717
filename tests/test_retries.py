"""A client that sends its request again until it is answered, through a server that is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent
ACTIONS = '''
import asyncio
import os
import random
import uuid

from api_factory import action


async def run(ticket: str) -> str:
    with open(os.environ["RUNS"], "a") as runs:
        runs.write(ticket + "\\n")
    if ticket == "gated":
        while not os.path.exists(os.environ["GATE"]):
            await asyncio.sleep(0.01)
    await asyncio.sleep(random.uniform(0, 0.08))
    # No two runs return the same, so that a second outcome could not pass for the first.
    return f"{ticket} {uuid.uuid4()}"


@action(units=3, kind="mutation")
async def reserve_seat(ticket: str) -> str:
    """Hold the units first."""
    return await run(ticket)


@action(units=2)
async def find_seat(ticket: str) -> str:
    """Charge the units afterwards."""
    return await run(ticket)
'''
PAUSE_SECONDS = 0.03
KILLS = 4
GIVEN_BACK_SECONDS = 120.0


@dataclass
class Killable:
    """A server of one database that can be killed and started again."""

    environment: dict[str, str]
    process: subprocess.Popen[str] | None = None
    url: str = ""

    def command(self, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "api_factory.cli", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api_factory.cli", "serve", "--port", "0", "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def kill(self) -> None:
        """End every process of the server at once, as a power cut does."""
        process, self.process = self.process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def server(fresh_database_url: str, tmp_path: Path) -> Iterator[Killable]:
    (tmp_path / "seats.py").write_text(ACTIONS)
    served = Killable(
        {
            **os.environ,
            "DATABASE_URL": fresh_database_url,
            "API_FACTORY_DATA_DIR": str(tmp_path),
            "API_FACTORY_ACTIONS": "seats",
            "API_FACTORY_WORKER_LEASE_SECONDS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
            "RUNS": str(tmp_path / "runs"),
            "GATE": str(tmp_path / "gate"),
        }
    )
    yield served
    served.kill()


@dataclass
class Caller:
    """Sends each of its requests until it is answered, and then once more."""

    server: Killable
    secret: str
    done: asyncio.Event
    replies: dict[str, set[bytes]] = field(default_factory=dict)
    units: int = 0

    async def work(self, number: int) -> None:
        """Make one request after the other, by turns through GraphQL and REST, until told to stop."""
        chance = random.Random(number)
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {self.secret}"}) as http:
            while not self.done.is_set():
                ticket = f"{number}-{len(self.replies)}-{chance.random()}"
                name = chance.choice(["reserve_seat", "find_seat"])
                path, body = chance.choice([_by_rest, _by_graphql])(name, ticket)
                seen = self.replies[ticket] = set()
                for _ in range(2):
                    seen.add(await self._until_answered(http, path, body, ticket, chance))
                self.units += 3 if name == "reserve_seat" else 2

    async def _until_answered(
        self, http: httpx.AsyncClient, path: str, body: object, ticket: str, chance: random.Random
    ) -> bytes:
        while True:
            patience_seconds = chance.choice([0.02, 0.06, 5.0])
            try:
                reply = await http.post(
                    self.server.url + path,
                    json=body,
                    headers={"Idempotency-Key": ticket},
                    timeout=patience_seconds,
                )
            except httpx.TransportError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if reply.status_code == 200:
                return reply.content
            assert reply.status_code in (409, 503), reply.text
            await asyncio.sleep(PAUSE_SECONDS)


def _by_rest(name: str, ticket: str) -> tuple[str, object]:
    return f"/api/v1/actions/{name}", {"ticket": ticket}


def _by_graphql(name: str, ticket: str) -> tuple[str, object]:
    kind, field_name = ("mutation", "reserveSeat") if name == "reserve_seat" else ("query", "findSeat")
    return "/graphql", {
        "query": f"{kind} Seat($ticket: String!) {{ {field_name}(ticket: $ticket) }}",
        "variables": {"ticket": ticket},
    }


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_retries_through_a_killed_server_are_charged_once_and_have_one_outcome(
    server: Killable,
) -> None:
    """Fails when the outcome is stored in a transaction after that of the charge: a retry whose server was
    killed between the two finds no outcome, runs again and is charged again.
    """
    _, secret = _account_and_secret(server)
    server.start()
    caller = Caller(server, secret, asyncio.Event())
    callers = [asyncio.create_task(caller.work(number)) for number in range(8)]
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.3, 1.2))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    await asyncio.sleep(0.5)
    caller.done.set()
    await asyncio.gather(*callers)
    assert len(caller.replies) > KILLS
    assert all(len(bodies) == 1 for bodies in caller.replies.values())
    await _await_given_back(server)
    async with connected(server.environment["DATABASE_URL"]) as connection:
        [charged] = await connection.fetch(
            "SELECT sum(calls)::int, sum(units)::int FROM usage_event WHERE units > 0"
        )
        [quota] = await connection.fetch("SELECT used, reserved FROM quota")
        states = await connection.fetch("SELECT state, count(*)::int AS entries FROM idempotency GROUP BY 1")
    assert tuple(charged) == (len(caller.replies), caller.units)
    assert tuple(quota) == (caller.units, 0)
    assert [tuple(row) for row in states] == [("done", len(caller.replies))]
    assert server.command("usage", "verify")["drift"] == 0
    # An action may run again when its server dies; its charge does not.
    runs = Path(server.environment["RUNS"]).read_text().split()
    assert len(runs) >= len(caller.replies)


@pytest.mark.parametrize("name", ["reserve_seat", "find_seat"])
async def test_a_server_that_was_paused_past_its_lease_wakes_and_charges_nothing(
    server: Killable, name: str
) -> None:
    """Fails for `find_seat` when `ledger_commit_once` does not compare the attempt: it is charged twice."""
    account, secret = _account_and_secret(server)
    # Long enough for the heartbeats of the one that is not paused, on a busy machine too.
    server.environment["API_FACTORY_WORKER_LEASE_SECONDS"] = "4"
    paused, other = server, Killable(server.environment)
    path, body = _by_rest(name, "gated")
    runs = Path(server.environment["RUNS"])
    paused.start()
    other.start()
    assert paused.process is not None
    try:
        async with httpx.AsyncClient(
            headers={"Authorization": f"Bearer {secret}", "Idempotency-Key": "one"}, timeout=60
        ) as http:
            first = asyncio.create_task(http.post(paused.url + path, json=body))
            while not runs.exists():
                await asyncio.sleep(0.01)
            os.killpg(paused.process.pid, signal.SIGSTOP)
            Path(server.environment["GATE"]).touch()
            while (retry := await http.post(other.url + path, json=body)).status_code == 409:
                await asyncio.sleep(PAUSE_SECONDS)
            os.killpg(paused.process.pid, signal.SIGCONT)
            assert retry.status_code == 200, retry.text
            assert (await first).status_code == 503
            again = await http.post(paused.url + path, json=body)
            assert (again.status_code, again.content) == (200, retry.content)
    finally:
        other.kill()
    assert runs.read_text().split() == ["gated", "gated"]
    used = server.command("usage", "show", "--account", account)
    assert (used["used"], used["reserved"]) == (retry.json()["units"], 0)
    assert server.command("usage", "verify")["drift"] == 0


def _account_and_secret(server: Killable) -> tuple[str, str]:
    account = server.command(
        *("account", "create", "--email", "seats@example.test", "--quota", "1000000"),
        *("--rate", "100000/second"),
    )["id"]
    return account, server.command("key", "create", "--account", account, "--name", "seats")["secret"]


async def _await_given_back(server: Killable) -> None:
    """Wait until the reaper has given back what killed servers held."""
    async with connected(server.environment["DATABASE_URL"]) as connection:
        deadline = time.monotonic() + GIVEN_BACK_SECONDS
        while await connection.fetchval("SELECT count(*) FROM reservation WHERE state = 'open'"):
            assert time.monotonic() < deadline, "what killed servers held was never given back"
            await asyncio.sleep(0.1)
