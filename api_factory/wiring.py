"""Where everything meets: builds every service once from the settings, opens and closes them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import api_factory
from api_factory.accounts import Accounts, Plans, load_plans
from api_factory.actions import Catalogue
from api_factory.audit import Actor, Audit
from api_factory.clock import Clock, SystemClock
from api_factory.db import Database, applied_migrations, migrate, pending_migrations
from api_factory.embedded import EmbeddedPostgres
from api_factory.errors import ApiFactoryError, Unavailable
from api_factory.guard import Guard
from api_factory.keys import KeyCache, Keys
from api_factory.limits import Limits, WindowStorage
from api_factory.metrics import DatabaseGauges, Metrics
from api_factory.periodic import Periodic
from api_factory.settings import Settings
from api_factory.usage import Ledger, RegisteredWorker, Usage
from api_factory.usage.workers import HEARTBEAT_SECONDS

LOGGER = logging.getLogger("api_factory.wiring")

SYSTEM: Final = Actor("system", "start")

GAUGES_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 2.0
VERIFY_SECONDS: Final = 600.0
PARTITIONS_SECONDS: Final = 3600.0
LAST_USED_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One part's readiness, in words an operator can act on."""

    ok: bool
    detail: str
    milliseconds: float


@dataclass(slots=True)
class _Scrape:
    at: float = float("-inf")
    drift: int | None = None
    gauges: DatabaseGauges = field(default_factory=lambda: DatabaseGauges({}, {}, None, 0))


@dataclass(frozen=True, slots=True)
class Engine:
    """Every service of this process, built and not yet connected."""

    settings: Settings
    clock: Clock
    db: Database
    catalogue: Catalogue
    audit: Audit
    plans: Plans
    accounts: Accounts
    keys: Keys
    key_cache: KeyCache
    limits: Limits
    ledger: Ledger
    usage: Usage
    guard: Guard
    metrics: Metrics
    worker: RegisteredWorker
    _background: list[Periodic] = field(default_factory=list)
    _scrape: _Scrape = field(default_factory=_Scrape)

    async def open(self, *, migrate: bool = True, background: bool = True) -> None:
        """Connect, migrate, apply the plans; with `background`, also all that serving needs.

        Any number of processes may open at once. Raises `Unavailable` when the database is away and
        `ConfigurationError` for a plans file that cannot be read.
        """
        await self.db.open()
        try:
            if migrate:
                await _migrate(self.db)
                await self.plans.apply(load_plans(self.settings.plans_file), by=SYSTEM)
                await self.usage.make_partitions()
            if background:
                await self._start_background()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what is queued, write what is remembered, end every task and connection."""
        for periodic in self._background:
            await periodic.stop()
        self._background.clear()
        await self.ledger.close()
        for farewell in (self._write_last_used, self.worker.sign_off):
            with contextlib.suppress(ApiFactoryError):
                await farewell()
        await self.key_cache.close()
        await self.db.close()

    async def readiness(self) -> Mapping[str, Check]:
        """Ask each part whether it can serve, each within two seconds."""
        database = await _check(self._database_answers)
        if not database.ok:
            away = Check(False, "unknown while the database is away", 0.0)
            return {"database": database, "migrations": away, "listener": away}
        return {
            "database": database,
            "migrations": await _check(self._migrations_are_applied),
            "listener": await _check(self._listener_listens),
        }

    async def database_gauges(self) -> DatabaseGauges:
        """Return what /metrics shows of the database, read at most every five seconds.

        While the database is away it returns what was read last: a scrape never fails for it.
        """
        now = self.clock.monotonic()
        if now - self._scrape.at >= GAUGES_SECONDS:
            self._scrape.at = now
            try:
                self._scrape.gauges = DatabaseGauges(
                    keys_by_status=await self.keys.count_by_status(),
                    accounts_over_quota=await self.usage.accounts_over_quota(),
                    ledger_drift_units=self._scrape.drift,
                    db_pool_in_use=self.db.in_use,
                )
            except ApiFactoryError:
                pass
            except Exception:
                LOGGER.exception("the gauges of the database could not be read")
        return self._scrape.gauges

    async def _start_background(self) -> None:
        await self.worker.register()
        await self.key_cache.open()
        await self.ledger.open()
        for name, seconds, work in (
            ("heartbeat", HEARTBEAT_SECONDS, self.worker.beat),
            ("reaper", HEARTBEAT_SECONDS, self.worker.reap),
            ("orphans", HEARTBEAT_SECONDS, self.ledger.release_orphans),
            ("last used", LAST_USED_SECONDS, self._write_last_used),
            ("partitions", PARTITIONS_SECONDS, self.usage.make_partitions),
            ("verify", VERIFY_SECONDS, self._verify),
            ("pool gauge", GAUGES_SECONDS, self._observe_pool),
        ):
            periodic = Periodic(name, seconds, work)
            periodic.start()
            self._background.append(periodic)

    async def _write_last_used(self) -> None:
        used = self.guard.take_used()
        if used:
            await self.keys.touch(used)

    async def _verify(self) -> None:
        self._scrape.drift = (await self.usage.verify()).drift

    async def _observe_pool(self) -> None:
        self.metrics.db_pool(self.db.in_use)

    async def _database_answers(self) -> str:
        await self.db.ping()
        return "answers"

    async def _migrations_are_applied(self) -> str:
        pending = await pending_migrations(self.db)
        if pending:
            raise Unavailable(f"{len(pending)} migrations are not applied; run api-factory migrate")
        return f"{len(await applied_migrations(self.db))} applied"

    async def _listener_listens(self) -> str:
        if not self.key_cache.is_listening:
            raise Unavailable("the listener for changes is reconnecting")
        return "listens"


def build_engine(
    settings: Settings,
    *,
    catalogue: Catalogue | None = None,
    clock: Clock | None = None,
) -> Engine:
    """Join the parts; nothing is connected or started.

    Raises `ActionDefinitionError` for actions that cannot be served and `ConfigurationError` for settings.
    """
    clock = clock or SystemClock()
    if catalogue is None:
        catalogue = Catalogue.load(settings.actions)
    db = Database(settings.database_dsn, pool_size=settings.database_pool_size)
    audit = Audit(db)
    metrics = Metrics(actions=[action.name for action in catalogue], version=api_factory.__version__)
    worker = RegisteredWorker(db)
    ledger = Ledger(db.connect, worker, observe=metrics.ledger_commit)
    key_cache = KeyCache(db, clock)
    limits = Limits(WindowStorage(clock=clock), divisor=settings.workers)
    keys = Keys(db, audit, settings.peppers)
    guard = Guard(
        snapshots=key_cache,
        keys=keys,
        limits=limits,
        ledger=ledger,
        metrics=metrics,
        clock=clock,
    )
    return Engine(
        settings=settings,
        clock=clock,
        db=db,
        catalogue=catalogue,
        audit=audit,
        plans=Plans(db, audit),
        accounts=Accounts(db, audit),
        keys=keys,
        key_cache=key_cache,
        limits=limits,
        ledger=ledger,
        usage=Usage(db),
        guard=guard,
        metrics=metrics,
        worker=worker,
    )


@contextlib.contextmanager
def embedded_database(settings: Settings) -> Iterator[None]:
    """Keep the embedded PostgreSQL running meanwhile, if the settings name no other server."""
    if not settings.uses_embedded_database:
        yield
        return
    with EmbeddedPostgres(settings.embedded_directory):
        yield


@contextlib.asynccontextmanager
async def opened(settings: Settings, *, background: bool = False) -> AsyncIterator[Engine]:
    """Build an engine, open it for the block, and close it."""
    engine = build_engine(settings)
    await engine.open(background=background)
    try:
        yield engine
    finally:
        await engine.close()


async def _migrate(db: Database) -> None:
    if await pending_migrations(db):
        await migrate(db)


async def _check(question: Callable[[], Awaitable[str]]) -> Check:
    started = time.perf_counter()
    try:
        detail, ok = await asyncio.wait_for(question(), CHECK_SECONDS), True
    except TimeoutError:
        detail, ok = f"no answer within {CHECK_SECONDS:g} s", False
    except ApiFactoryError as error:
        detail, ok = error.message, False
    except Exception:
        LOGGER.exception("a readiness check failed")
        detail, ok = "it cannot be told; the log says why", False
    return Check(ok, detail, (time.perf_counter() - started) * 1000)
