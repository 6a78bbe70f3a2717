"""What Prometheus may ask: correct with one worker and, through shared files, with several.

Nothing is labelled by key or account, and no label takes its values from a client: names outside the
catalogue are counted as `unknown`, and a label set beyond the bound as `other`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
LABEL_SETS_MAX: Final = 1_000
KEY_STATUSES: Final = ("ACTIVE", "SUSPENDED", "REVOKED", "EXPIRED")
QUOTA_THRESHOLDS: Final = ("80", "100")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

Child = TypeVar("Child")


@dataclass(frozen=True, slots=True)
class DatabaseGauges:
    """What is read once at a scrape; `ledger_drift_units` is None while no verification has run.

    All but `db_pool_in_use`, which is this worker's own, are the whole system's and are not summed.
    `reconcile_differences` is None while Stripe was never compared with.
    """

    keys_by_status: Mapping[str, int]
    accounts_over_quota: Mapping[str, int]
    ledger_drift_units: int | None
    db_pool_in_use: int
    stripe_inbox_pending: int = 0
    stripe_inbox_oldest_seconds: float = 0.0
    stripe_inbox_dead: int = 0
    reconcile_differences: int | None = None
    outboxes: Mapping[str, tuple[int, int, float]] = field(default_factory=dict)
    """By name: what waits, what is dead, and the seconds for which the oldest has waited."""


class Metrics:
    """The metrics of one process, in a registry of their own; a record costs no label look-up.

    Build it once per process, after `prepare_multiprocess` where there are several. `RuntimeError` when
    the environment asks for several processes and prometheus_client was imported before it did.
    """

    def __init__(self, *, actions: Iterable[str] = (), version: str = "0") -> None:
        """Know the names of the catalogue's actions, the only ones that become labels."""
        self._directory = _shared_directory()
        self._version = version
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        known = frozenset(actions)
        self._requests = _Children(
            _counter(registry, "requests", "Requests answered.", "surface", "code").labels
        )
        self._request_seconds = _Children(
            _histogram(registry, "request_seconds", "Time to answer a request.", _SECONDS, "surface").labels
        )
        self._action_calls = _Children(
            _counter(registry, "action_calls", "Calls of actions.", "action", "outcome").labels, known
        )
        self._action_seconds = _Children(
            _histogram(registry, "action_seconds", "Time that actions ran.", _SECONDS, "action").labels, known
        )
        self._units = _Children(_counter(registry, "units_charged", "Units charged.", "action").labels, known)
        self._rate_limited = _Children(
            _counter(registry, "rate_limited", "Calls refused by a rate limit.", "policy").labels
        )
        self._quota_refusals = _counter(registry, "quota_refusals", "Calls refused for want of quota.")
        self._replays = _replays(registry)
        self._stripe_events = _Children(_stripe_events(registry).labels)
        self._outbox_attempts = _Children(_outbox_attempts(registry).labels)
        self._commit_seconds = _histogram(
            registry, "ledger_commit_seconds", "Time that the ledger took to commit a batch.", _SECONDS
        )
        self._batch_size = _histogram(
            registry, "ledger_batch_size", "Charges committed in one batch.", _BATCH_SIZES
        )
        self._limits_degraded = Gauge(
            "api_factory_limits_degraded",
            "Workers that enforce their part of the limits alone, because the shared store is away.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._limits_switches = _counter(
            registry, "limits_switches", "Switches between the shared store of limits and memory.", "to"
        )
        self._pool_in_use = Gauge(
            "api_factory_db_pool_in_use",
            "Database connections in use, all workers.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def limits_alone(self, is_alone: bool) -> None:
        """State that this worker began to enforce its part of the limits alone, or no longer does."""
        self._limits_degraded.set(int(is_alone))
        self._limits_switches.labels("memory" if is_alone else "shared").inc()

    def request(self, surface: str, code: str, seconds: float) -> None:
        """Count one answered request of a surface (`graphql`, `rest`, …) by its code, `OK` or a refusal's."""
        self._requests[surface, code].inc()
        self._request_seconds[(surface,)].observe(seconds)

    def action_call(self, action: str, outcome: str, seconds: float) -> None:
        """Count one call of an action by its outcome."""
        self._action_calls[action, outcome].inc()
        self._action_seconds[(action,)].observe(seconds)

    def units_charged(self, action: str, units: int) -> None:
        """Add units that the ledger has committed."""
        self._units[(action,)].inc(units)

    def rate_limited(self, policy: str) -> None:
        """Count one call that a rate limit refused."""
        self._rate_limited[(policy,)].inc()

    def quota_refused(self) -> None:
        """Count one call refused because its quota is used up."""
        self._quota_refusals.inc()

    def idempotent_replay(self) -> None:
        """Count one retry that was given the stored outcome."""
        self._replays.inc()

    def stripe_event(self, kind: str, outcome: str) -> None:
        """Count what became of an event of Stripe; `kind` is a type that is worked on, or `other`."""
        self._stripe_events[kind, outcome].inc()

    def outbox_attempt(self, outbox: str, outcome: str) -> None:
        """Count what became of an attempt to send out of an outbox: a channel of notices, or `meter`."""
        self._outbox_attempts[outbox, outcome].inc()

    def ledger_commit(self, seconds: float, batch_size: int) -> None:
        """Record one committed batch of the ledger."""
        self._commit_seconds.observe(seconds)
        self._batch_size.observe(batch_size)

    def db_pool(self, in_use: int) -> None:
        """State how many connections this worker uses now; a worker that is not scraped calls it too."""
        self._pool_in_use.set(in_use)

    def render(self, gauges: DatabaseGauges) -> tuple[bytes, str]:
        """Return the exposition and its content type: every worker summed, `gauges` as they are."""
        self.db_pool(gauges.db_pool_in_use)
        return generate_latest(_Scrape(self._collect, gauges, self._version)), CONTENT_TYPE_PLAIN_0_0_4

    def _collect(self) -> Iterable[Metric]:
        if self._directory is None:
            return self._registry.collect()
        collector = multiprocess.MultiProcessCollector(None, self._directory)  # type: ignore[no-untyped-call]
        collected: Iterable[Metric] = collector.collect()  # type: ignore[no-untyped-call]
        return sorted(collected, key=lambda metric: metric.name)


def prepare_multiprocess(directory: Path) -> None:
    """Make workers started from here share their metrics in `directory`, emptied of an earlier run's.

    The parent calls it before it starts its workers: they read the variable when they import
    prometheus_client, so they must be started fresh (spawn), not forked.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in directory.glob("*.db"):
        file.unlink(missing_ok=True)
    os.environ[DIRECTORY_VARIABLE] = str(directory)


def mark_process_dead(pid: int) -> None:
    """Drop the live gauges of a worker that has ended; what it counted stays counted."""
    if DIRECTORY_VARIABLE in os.environ:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


class _Children(dict[tuple[str, ...], Child], Generic[Child]):
    """The children of one metric by label values, made at first use and bounded in number."""

    def __init__(self, make: Callable[..., Child], known: frozenset[str] | None = None) -> None:
        super().__init__()
        self._make = make
        self._known = known

    def __missing__(self, labels: tuple[str, ...]) -> Child:
        if self._known is not None and labels[0] not in self._known and labels[0] != "unknown":
            return self[("unknown", *labels[1:])]
        if len(self) >= LABEL_SETS_MAX:
            return self._make(*("other" for _ in labels))
        child = self[labels] = self._make(*labels)
        return child


class _Scrape(Collector):
    """One scrape: what the workers counted, then what the database says, then the build."""

    def __init__(self, counted: Callable[[], Iterable[Metric]], gauges: DatabaseGauges, version: str) -> None:
        self._counted = counted
        self._gauges = gauges
        self._version = version

    def collect(self) -> Iterator[Metric]:
        yield from self._counted()
        gauges = self._gauges
        yield _family(
            "keys",
            "API keys by status.",
            "status",
            {**dict.fromkeys(KEY_STATUSES, 0), **gauges.keys_by_status},
        )
        yield _family(
            "accounts_over_quota",
            "Accounts that have used at least this percentage of their quota.",
            "threshold",
            {**dict.fromkeys(QUOTA_THRESHOLDS, 0), **gauges.accounts_over_quota},
        )
        yield from _plain(gauges)
        yield from _outboxes(gauges.outboxes)
        build = GaugeMetricFamily(
            "api_factory_build_info", "The running version; always 1.", labels=("version", "python")
        )
        build.add_metric((self._version, platform.python_version()), 1)
        yield build


def _shared_directory() -> str | None:
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is not None and values.ValueClass is values.MutexValue:
        raise RuntimeError(
            f"{DIRECTORY_VARIABLE} was set after prometheus_client was imported, so this worker would count "
            "for itself alone; set it before the worker starts."
        )
    return directory


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"api_factory_{name}_total", text, labels, registry=registry)


def _replays(registry: CollectorRegistry) -> Counter:
    return _counter(registry, "idempotent_replays", "Replies given again for an Idempotency-Key.")


def _stripe_events(registry: CollectorRegistry) -> Counter:
    text = "Events of Stripe by what became of them."
    return _counter(registry, "stripe_events", text, "type", "outcome")


def _outbox_attempts(registry: CollectorRegistry) -> Counter:
    text = "Attempts to send notices and metered units, by what became of them."
    return _counter(registry, "outbox_attempts", text, "outbox", "outcome")


def _outboxes(outboxes: Mapping[str, tuple[int, int, float]]) -> Iterator[Metric]:
    for place, (name, text) in enumerate(
        (
            ("outbox_pending", "What waits in an outbox: notices, or windows of metered units."),
            ("outbox_dead", "What was given up there; a person has to look."),
            ("outbox_oldest_seconds", "How long the oldest of what waits has waited."),
        )
    ):
        yield _family(name, text, "outbox", {outbox: counts[place] for outbox, counts in outboxes.items()})


def _histogram(
    registry: CollectorRegistry, name: str, text: str, buckets: tuple[float, ...], *labels: str
) -> Histogram:
    return Histogram(f"api_factory_{name}", text, labels, registry=registry, buckets=buckets)


def _plain(gauges: DatabaseGauges) -> Iterator[Metric]:
    for name, text, value in (
        (
            "ledger_drift_units",
            "Units by which balances differ from their events; anything but 0 is a fault.",
            gauges.ledger_drift_units,
        ),
        ("stripe_inbox_pending", "Events of Stripe that are to be worked on.", gauges.stripe_inbox_pending),
        (
            "stripe_inbox_oldest_seconds",
            "How long the oldest of them has waited.",
            gauges.stripe_inbox_oldest_seconds,
        ),
        (
            "stripe_inbox_dead",
            "Events of Stripe that failed for days; replay them.",
            gauges.stripe_inbox_dead,
        ),
        (
            "reconcile_differences",
            "Places in which Stripe and this server differed when last compared.",
            gauges.reconcile_differences,
        ),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"api_factory_{name}", text, value=value)


def _family(name: str, text: str, label: str, samples: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"api_factory_{name}", text, labels=(label,))
    for value, count in samples.items():
        family.add_metric((value,), count)
    return family
