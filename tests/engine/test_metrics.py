from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api_factory import metrics as module
from api_factory.metrics import DatabaseGauges, Metrics, mark_process_dead, prepare_multiprocess

GAUGES = DatabaseGauges(
    keys_by_status={"ACTIVE": 7, "REVOKED": 2},
    accounts_over_quota={"80": 3, "100": 1},
    ledger_drift_units=0,
    db_pool_in_use=4,
)

WORKER = """
import json, os, sys
from api_factory.metrics import DatabaseGauges, Metrics

metrics = Metrics(actions=["shout"], version="1.2.3")
gauges = DatabaseGauges({"ACTIVE": 7}, {"80": 3}, 0, 4)
for line in sys.stdin:
    calls = int(line)
    for _ in range(calls):
        metrics.request("graphql", "OK", 0.004)
        metrics.action_call("shout", "success", 0.002)
        metrics.units_charged("shout", 5)
        metrics.ledger_commit(0.001, 3)
    print(json.dumps({"pid": os.getpid(), "text": metrics.render(gauges)[0].decode()}), flush=True)
"""


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f"|{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def rendered(metrics: Metrics, gauges: DatabaseGauges = GAUGES) -> dict[str, float]:
    return samples(metrics.render(gauges)[0].decode())


def test_every_record_is_counted_once() -> None:
    metrics = Metrics(actions=["shout"], version="1.2.3")
    metrics.request("graphql", "OK", 0.004)
    metrics.request("graphql", "OK", 0.4)
    metrics.request("rest", "RATE_LIMITED", 0.001)
    metrics.action_call("shout", "success", 0.002)
    metrics.units_charged("shout", 5)
    metrics.units_charged("shout", 7)
    metrics.rate_limited("minute")
    metrics.quota_refused()
    metrics.ledger_commit(0.003, 17)
    values = rendered(metrics)
    expected = {
        "api_factory_requests_total|code=OK|surface=graphql": 2,
        "api_factory_requests_total|code=RATE_LIMITED|surface=rest": 1,
        "api_factory_request_seconds_count|surface=graphql": 2,
        "api_factory_request_seconds_bucket|le=0.005|surface=graphql": 1,
        "api_factory_request_seconds_sum|surface=graphql": 0.404,
        "api_factory_action_calls_total|action=shout|outcome=success": 1,
        "api_factory_action_seconds_count|action=shout": 1,
        "api_factory_units_charged_total|action=shout": 12,
        "api_factory_rate_limited_total|policy=minute": 1,
        "api_factory_quota_refusals_total": 1,
        "api_factory_ledger_commit_seconds_sum": 0.003,
        "api_factory_ledger_batch_size_bucket|le=16.0": 0,
        "api_factory_ledger_batch_size_bucket|le=32.0": 1,
        "api_factory_keys|status=ACTIVE": 7,
        "api_factory_keys|status=SUSPENDED": 0,
        "api_factory_keys|status=REVOKED": 2,
        "api_factory_accounts_over_quota|threshold=80": 3,
        "api_factory_accounts_over_quota|threshold=100": 1,
        "api_factory_ledger_drift_units": 0,
        "api_factory_db_pool_in_use": 4,
    }
    assert {name: values[name] for name in expected} == expected
    assert [value for name, value in values.items() if "build_info" in name and "version=1.2.3" in name] == [
        1
    ]


def test_processes_may_hold_several_independent_sets() -> None:
    first, second = Metrics(), Metrics()
    first.quota_refused()
    assert rendered(first)["api_factory_quota_refusals_total"] == 1
    assert rendered(second)["api_factory_quota_refusals_total"] == 0


def test_a_drift_that_nobody_measured_is_not_reported_as_zero() -> None:
    values = rendered(Metrics(), DatabaseGauges({}, {}, None, 0))
    assert "api_factory_ledger_drift_units" not in values
    assert values["api_factory_keys|status=ACTIVE"] == 0


def test_names_outside_the_catalogue_never_become_labels() -> None:
    metrics = Metrics(actions=["shout"])
    for number in range(50):
        metrics.action_call(f"nonsense{number}", "success", 0.001)
        metrics.units_charged(f"nonsense{number}", 1)
    text = metrics.render(GAUGES)[0].decode()
    assert "nonsense" not in text
    assert samples(text)["api_factory_action_calls_total|action=unknown|outcome=success"] == 50
    assert samples(text)["api_factory_units_charged_total|action=unknown"] == 50


def test_the_number_of_label_sets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LABEL_SETS_MAX", 3)
    metrics = Metrics()
    for number in range(10):
        metrics.rate_limited(f"policy{number}")
    values = rendered(metrics)
    assert values["api_factory_rate_limited_total|policy=other"] == 7
    assert sum(name.startswith("api_factory_rate_limited_total") for name in values) == 4


def test_names_follow_the_conventions_of_prometheus() -> None:
    body, content_type = Metrics().render(GAUGES)
    assert content_type.startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(body.decode()))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"api_factory_[a-z_]+", family.name)
        assert family.documentation.endswith((".", "1.", "fault."))
        assert not family.name.endswith(("_created", "_count", "_sum", "_bucket"))
        # The parser takes the _total off a counter's name.
        assert family.type != "counter" or f"# TYPE {family.name}_total counter" in body.decode()


def start_worker(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # the interpreter that runs the tests, with a constant script
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def count(worker: subprocess.Popen[str], calls: int) -> tuple[int, dict[str, float]]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{calls}\n")
    worker.stdin.flush()
    answer = json.loads(worker.stdout.readline())
    return answer["pid"], samples(answer["text"])


def test_workers_are_summed_and_what_the_database_says_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(module.DIRECTORY_VARIABLE, "elsewhere")
    shared = tmp_path / "metrics"
    shared.mkdir()
    (shared / "counter_1.db").write_bytes(b"left by an earlier run")
    prepare_multiprocess(shared)
    assert list(shared.iterdir()) == []
    root = str(Path(module.__file__).parents[1])
    with start_worker({"PYTHONPATH": root}) as first, start_worker({"PYTHONPATH": root}) as second:
        first_pid, _ = count(first, 10)
        _, values = count(second, 32)
        expected = {
            "api_factory_requests_total|code=OK|surface=graphql": 42,
            "api_factory_request_seconds_count|surface=graphql": 42,
            "api_factory_action_seconds_bucket|action=shout|le=0.0025": 42,
            "api_factory_units_charged_total|action=shout": 210,
            "api_factory_ledger_batch_size_sum": 126,
            "api_factory_quota_refusals_total": 0,
            "api_factory_keys|status=ACTIVE": 7,
            "api_factory_accounts_over_quota|threshold=80": 3,
            "api_factory_db_pool_in_use": 8,
        }
        assert {name: values[name] for name in expected} == expected
        assert sum(value for name, value in values.items() if "build_info" in name) == 1
        first.communicate()
        mark_process_dead(first_pid)
        _, values = count(second, 0)
        assert values["api_factory_db_pool_in_use"] == 4
        assert values["api_factory_requests_total|code=OK|surface=graphql"] == 42
        second.communicate()


def test_a_worker_prepared_too_late_does_not_count_for_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(module.DIRECTORY_VARIABLE, str(tmp_path))
    with pytest.raises(RuntimeError, match="before the worker starts"):
        Metrics()


def test_with_one_worker_a_death_marks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.DIRECTORY_VARIABLE, raising=False)
    mark_process_dead(1)
