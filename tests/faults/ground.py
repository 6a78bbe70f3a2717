"""The database and the servers that a test breaks, and the books that must be right afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from api_factory.audit import Actor
from api_factory.ids import parse_public_id
from api_factory.keys import NewKey
from api_factory.settings import Settings
from api_factory.usage import Verification
from api_factory.wiring import opened
from tests.faults.clients import HANG_SECONDS, UNITS, Call, Load
from tests.faults.postgres import Postgres
from tests.faults.serving import Server, environment
from tests.faults.waiting import START_SECONDS, until

TESTS = Actor("system", "faults")
NIL = UUID(int=0)
FLEET_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Customer:
    """An account with one key."""

    account: str
    account_id: UUID
    key: str
    key_id: UUID
    secret: str


@dataclass(slots=True)
class Outage:
    """From when to when an answer could be lost."""

    began: float
    ended: float = float("inf")

    def touches(self, call: Call) -> bool:
        """Tell whether a call was under way at some time of it."""
        return call.began <= self.ended and call.ended >= self.began


@dataclass
class Ground:
    """One PostgreSQL, one database, two `serve` of two workers each."""

    postgres: Postgres
    database: str
    directory: Path
    servers: list[Server]
    source: random.Random

    @property
    def dsn(self) -> str:
        """The address of the database."""
        return self.postgres.dsn(self.database)

    @property
    def urls(self) -> list[str]:
        """Where the servers are."""
        return [server.url for server in self.servers]

    def variables(self, **settings: object) -> dict[str, str]:
        """Return the environment of commands at this database."""
        return environment(self.dsn, self.directory, **settings)

    def load(self, customer: Customer, **wishes: object) -> Load:
        """Return a load on both servers."""
        return Load(self.urls, customer.secret, source=self.source, **wishes)  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """Connect to the database meanwhile, as somebody besides the servers."""
        connection = await asyncpg.connect(self.dsn, timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    def _settings(self) -> Settings:
        return Settings(database_url=self.dsn, data_dir=self.directory)  # type: ignore[arg-type]

    async def customer(
        self, *, quota: int = 1_000_000, cap: int | None = None, rate: str = "1000000/second"
    ) -> Customer:
        """Make an account that nothing stops but what is named, with one key."""
        async with opened(self._settings()) as engine:
            email = f"{secrets.token_hex(8)}@example.test"
            account = await engine.accounts.create(email, quota_units=quota, rate=rate, by=TESTS)
            issued = await engine.keys.create(account.id, NewKey(name="faults", cap_units=cap), by=TESTS)
        key_id = parse_public_id("key", issued.key.public_id)
        assert key_id is not None
        return Customer(account.public_id, account.id, issued.key.public_id, key_id, issued.secret)

    async def verified(self) -> Verification:
        """Recompute every counter from the events, as `usage verify` does."""
        async with opened(self._settings()) as engine:
            return await engine.usage.verify()

    async def ready(self) -> None:
        """Return when PostgreSQL answers and every worker is there and can serve."""
        if not self.postgres.is_running:
            await self.postgres.start()
        for server in self.servers:
            await server.ready()
        await until(self._is_complete, "every worker has registered", seconds=START_SECONDS)

    async def _is_complete(self) -> bool:
        pids = {pid for server in self.servers for pid in server.workers}
        async with self.connected() as connection:
            rows = await connection.fetch("SELECT pid FROM worker")
        return len(pids) == FLEET_WORKERS and pids <= {row["pid"] for row in rows}

    async def charged(self, customer: Customer) -> Counter[str]:
        """Return how often each request was charged."""
        async with self.connected() as connection:
            rows = await connection.fetch(
                "SELECT request.id, count(*) AS times FROM usage_event,"
                " unnest(request_ids, request_units) AS request (id, units)"
                " WHERE account_id = $1 AND request.units > 0 GROUP BY 1",
                customer.account_id,
            )
        return Counter({row["id"]: row["times"] for row in rows})

    async def counters(self, customer: Customer, *, of_key: bool = False) -> list[tuple[int, int]]:
        """Return used and reserved of every period, the oldest first."""
        async with self.connected() as connection:
            rows = await connection.fetch(
                "SELECT used, reserved FROM quota WHERE account_id = $1 AND key_id = $2"
                " ORDER BY period_start",
                customer.account_id,
                customer.key_id if of_key else NIL,
            )
        return [(row["used"], row["reserved"]) for row in rows]

    async def holders(self, customer: Customer) -> list[int]:
        """Return the workers that hold units for a call of `hold`."""
        async with self.connected() as connection:
            rows = await connection.fetch(
                "SELECT worker.pid FROM reservation JOIN worker ON worker.id = reservation.worker_id"
                " WHERE reservation.account_id = $1 AND reservation.state = 'open'"
                " AND reservation.units = $2",
                customer.account_id,
                UNITS["hold"],
            )
        return [row["pid"] for row in rows]

    @contextlib.asynccontextmanager
    async def locked(self, customer: Customer) -> AsyncIterator[None]:
        """Let no commit of a customer's pass meanwhile: somebody else holds his row."""
        async with self.connected() as connection, connection.transaction():
            await connection.execute(
                "SELECT FROM quota WHERE account_id = $1 FOR UPDATE", customer.account_id
            )
            yield

    async def nothing_held(self, customer: Customer) -> None:
        """Return when no unit of the account is set aside any more."""

        async def is_free() -> bool:
            return all(reserved == 0 for _, reserved in await self.counters(customer))

        await until(is_free, "what was reserved has come back")

    async def account_for(
        self, customer: Customer, calls: Iterable[Call], outages: Sequence[Outage] = ()
    ) -> int:
        """Prove that the books agree with what clients saw; return the units charged.

        Every reply that a client got is charged, once; what is charged without a reply was under way in
        an outage; the counter is the sum; nothing is held; every counter of the database is right.
        """
        await self.nothing_held(customer)
        by_id = {each.request_id: each for each in calls}
        seen = {each.request_id for each in by_id.values() if each.status == 200}
        charged = await self.charged(customer)
        assert not [request_id for request_id, times in charged.items() if times > 1], "charged twice"
        assert not seen - charged.keys(), "answered and not charged"
        unseen = [by_id[request_id] for request_id in charged.keys() - seen]
        unexplained = [each for each in unseen if not any(outage.touches(each) for outage in outages)]
        assert not unexplained, "charged, not answered, and nothing was broken then"
        units = sum(UNITS[by_id[request_id].action] for request_id in charged)
        assert sum(used for used, _ in await self.counters(customer)) == units
        assert (await self.verified()).drift == 0
        return units


def check_refusals(calls: Iterable[Call], *allowed: int | None, starting: Sequence[Outage] = ()) -> None:
    """Prove that every call ended as allowed, that none hung, and that each 503 says when to retry.

    Who calls a server that is `starting` waits for it in the queue of its socket, as he should.
    """
    for each in calls:
        assert each.status in allowed, each
        assert each.status != 503 or (each.retry_after is not None and int(each.retry_after) >= 1), each
        is_waiting = any(interval.touches(each) for interval in starting)
        assert each.seconds < HANG_SECONDS or is_waiting, each


@contextlib.asynccontextmanager
async def outage() -> AsyncIterator[Outage]:
    """Remember when something was broken; it is over when the block is."""
    kept = Outage(time.monotonic())
    try:
        yield kept
    finally:
        kept.ended = time.monotonic()
        await asyncio.sleep(0)
