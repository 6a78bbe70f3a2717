"""Where everything meets: builds every service once from the settings, opens and closes them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import api_factory
from api_factory.accounts import Accounts, Plans, load_plans
from api_factory.actions import Catalogue
from api_factory.audit import Actor, Audit
from api_factory.billing.assembly import BillingServices, build_billing, rules_of
from api_factory.billing.service import Billing
from api_factory.clock import Clock, SystemClock
from api_factory.db import Database, applied_migrations, migrate, pending_migrations
from api_factory.embedded import EmbeddedPostgres
from api_factory.errors import ApiFactoryError, Unavailable
from api_factory.guard import Guard
from api_factory.keys import KeyCache, Keys
from api_factory.limits import FailoverLimits, Limits, RedisBackend, WindowStorage, open_wire
from api_factory.metrics import DatabaseGauges, Metrics
from api_factory.notices import Notices, channels_of
from api_factory.periodic import Periodic
from api_factory.settings import Settings
from api_factory.usage import Idempotency, Ledger, RegisteredWorker, Usage

LOGGER = logging.getLogger("api_factory.wiring")

SYSTEM: Final = Actor("system", "start")

GAUGES_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 2.0
LIMITS_SECONDS: Final = 1.0
VERIFY_SECONDS: Final = 60.0
PARTITIONS_SECONDS: Final = 3600.0
LAST_USED_SECONDS: Final = 5.0
NOTICES_SECONDS: Final = 2.0
IDEMPOTENCY_SECONDS: Final = 60.0
LONGEST_COMMIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Check:
    """One part's readiness, in words an operator can act on."""

    ok: bool
    detail: str
    milliseconds: float
    is_required: bool = True
    """False for a part without which the server goes on serving, if less well."""


@dataclass(slots=True)
class _Scrape:
    at: float = float("-inf")
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
    idempotency: Idempotency
    guard: Guard
    notices: Notices
    billing: BillingServices
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
        await self.billing.stop()
        await self.ledger.close()
        for farewell in (self._write_last_used, self.worker.sign_off):
            with contextlib.suppress(ApiFactoryError):
                await farewell()
        await self.key_cache.close()
        await self.limits.close()
        await self.db.close()

    async def readiness(self) -> Mapping[str, Check]:
        """Ask each part whether it can serve, each within two seconds."""
        database = await _check(self._database_answers)
        checks = {"database": database}
        if database.ok:
            checks["migrations"] = await _check(self._migrations_are_applied)
            checks["listener"] = await _check(self._listener_listens)
        else:
            away = Check(False, "unknown while the database is away", 0.0)
            checks.update(migrations=away, listener=away)
        if self.settings.redis_url is not None:
            checks["redis"] = replace(await _check(self.limits.check), is_required=False)
        return checks

    async def database_gauges(self) -> DatabaseGauges:
        """Return what /metrics shows of the database, read at most every five seconds.

        While the database is away it returns what was read last: a scrape never fails for it.
        """
        now = self.clock.monotonic()
        if now - self._scrape.at >= GAUGES_SECONDS:
            self._scrape.at = now
            try:
                inbox = await self.billing.gauges()
                self._scrape.gauges = DatabaseGauges(
                    keys_by_status=await self.keys.count_by_status(),
                    accounts_over_quota=await self.usage.accounts_over_quota(),
                    ledger_drift_units=await self.usage.last_drift(),
                    db_pool_in_use=self.db.in_use,
                    stripe_inbox_pending=inbox.pending,
                    stripe_inbox_oldest_seconds=inbox.oldest_seconds,
                    stripe_inbox_dead=inbox.dead,
                    reconcile_differences=await self.billing.reconciliation.last_found(),
                    outboxes={
                        "notices": await self.notices.counts(),
                        "meters": await self.billing.meters.counts(),
                    },
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
        await self._count_workers()
        for name, seconds, work in (
            ("heartbeat", self.worker.heartbeat_seconds, self.worker.beat),
            ("reaper", self.worker.heartbeat_seconds, self.worker.reap),
            ("live workers", self.worker.heartbeat_seconds, self._count_workers),
            ("limits", LIMITS_SECONDS, self._check_limits),
            ("orphans", self.worker.heartbeat_seconds, self.ledger.release_orphans),
            ("idempotency entries left", self.worker.heartbeat_seconds, self.idempotency.forget_left),
            ("expired outcomes", IDEMPOTENCY_SECONDS, self.idempotency.clean),
            ("last used", LAST_USED_SECONDS, self._write_last_used),
            ("partitions", PARTITIONS_SECONDS, self.usage.make_partitions),
            ("retention", PARTITIONS_SECONDS, self._drop_events),
            ("verify", VERIFY_SECONDS, self.usage.verify_when_due),
            ("pool gauge", GAUGES_SECONDS, self._observe_pool),
            ("notices", NOTICES_SECONDS, self.notices.deliver_due),
            ("old notices", PARTITIONS_SECONDS, self.notices.forget_old),
            *self.billing.periodics(),
        ):
            periodic = Periodic(name, seconds, work)
            periodic.start()
            self._background.append(periodic)
        self.billing.start()

    async def _count_workers(self) -> None:
        """Know among how many the limits are divided when the shared store of them goes away."""
        if self.settings.redis_url is not None:
            self.limits.divisor = max(self.settings.workers, await self.worker.count_live())

    async def _check_limits(self) -> None:
        """Notice within a second that the shared store was away and has forgotten, when nobody calls."""
        with contextlib.suppress(Unavailable):  # it says so itself
            await self.limits.check()

    async def _write_last_used(self) -> None:
        used = self.guard.take_used()
        if used:
            await self.keys.touch(used)

    async def _drop_events(self) -> None:
        if self.settings.usage_retention_months is not None:
            await self.usage.drop_events(self.settings.usage_retention_months)

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
    catalogue = Catalogue.load(settings.actions) if catalogue is None else catalogue
    db = Database(settings.database_dsn, pool_size=settings.database_pool_size)
    audit = Audit(db)
    metrics = Metrics(actions=[action.name for action in catalogue], version=api_factory.__version__)
    worker = RegisteredWorker(db, lease_seconds=settings.worker_lease_seconds)
    ledger = _build_ledger(settings, db, worker, metrics)
    key_cache, limits = KeyCache(db, clock), _build_limits(settings, clock, metrics)
    keys = Keys(db, audit, settings.peppers)
    idempotency = _build_idempotency(settings, db, worker)
    accounts, plans, notices = Accounts(db, audit), Plans(db, audit), _notices(db, settings, metrics)
    billing = Billing(db, audit, accounts, plans, notices, rules_of(settings))
    return Engine(
        settings=settings,
        clock=clock,
        db=db,
        catalogue=catalogue,
        audit=audit,
        plans=plans,
        accounts=accounts,
        keys=keys,
        key_cache=key_cache,
        limits=limits,
        ledger=ledger,
        usage=Usage(db),
        idempotency=idempotency,
        guard=Guard(
            snapshots=key_cache,
            keys=keys,
            limits=limits,
            ledger=ledger,
            idempotency=idempotency,
            metrics=metrics,
            clock=clock,
        ),
        notices=notices,
        billing=build_billing(settings, db, audit, accounts, billing, metrics),
        metrics=metrics,
        worker=worker,
    )


def _build_ledger(settings: Settings, db: Database, worker: RegisteredWorker, metrics: Metrics) -> Ledger:
    return Ledger(db.connect, worker, observe=metrics.ledger_commit, queue_limit=settings.ledger_queue_limit)


def _notices(db: Database, settings: Settings, metrics: Metrics) -> Notices:
    return Notices(db, channels_of(settings), observe=metrics.outbox_attempt)


def _build_idempotency(settings: Settings, db: Database, worker: RegisteredWorker) -> Idempotency:
    return Idempotency(
        db,
        worker,
        ttl_seconds=settings.idempotency_ttl_seconds,
        longest_seconds=settings.operation_timeout_seconds + LONGEST_COMMIT_SECONDS,
    )


def _build_limits(settings: Settings, clock: Clock, metrics: Metrics) -> Limits:
    if settings.redis_url is None:
        return Limits(WindowStorage(clock=clock), divisor=settings.workers)
    backend = RedisBackend(open_wire(settings.redis_url.get_secret_value()))
    return FailoverLimits(backend, clock=clock, divisor=settings.workers, observe=metrics.limits_alone)


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
