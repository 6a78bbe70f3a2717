"""`api-factory serve` and `demo`: real processes over real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from api_factory.actions import BUILT_IN_SCOPES
from api_factory.cli.serving import url_of
from tests.cli.conftest import START_SECONDS, Outcome, Run, Spawn

SLOW_ACTION = '''
import asyncio
from pathlib import Path

from api_factory import action


@action
async def linger(text: str) -> str:
    """Answer in a while."""
    Path("called").touch()
    await asyncio.sleep(1.0)
    return text
'''


def fetch(url: str, method: str = "GET", body: object = None, **headers: str) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=START_SECONDS)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, parts.path, sent, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def call(ready: dict[str, str], query: str) -> Any:
    authorization = {"Authorization": f"Bearer {ready['key']}"}
    status, body = fetch(ready["graphql"], "POST", {"query": query}, **authorization)
    assert status == 200, body
    return json.loads(body)


def echo(ready: dict[str, str], text: str) -> str:
    authorization = {"Authorization": f"Bearer {ready['key']}"}
    return fetch(ready["graphql"], "POST", {"query": f'{{ echo(text: "{text}") }}'}, **authorization)[1]


def postmaster(folder: Path) -> int:
    return int((folder / "data" / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])


def has_another_postmaster(folder: Path, pid: int) -> bool:
    try:
        return postmaster(folder) != pid
    except (FileNotFoundError, IndexError):  # it is being started
        return False


def is_running(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return False
    return words[0] != "Z"


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(outcome: Outcome) -> None:
    assert outcome.code == 0, outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_serve_makes_its_database_answers_and_leaves_nothing_running(
    spawn: Spawn, apart: Run, folder: Path
) -> None:
    served = spawn("serve", "--port", "0", "--json")
    ready = json.loads(served.line())
    url = ready["url"]
    assert ready == {"url": url, "graphql": f"{url}/graphql", "admin": f"{url}/admin/"}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert fetch(f"{url}/_api/readyz")[0] == 200
    assert json.loads(fetch(f"{url}/graphql", "POST", {"query": "{ ping }"})[1]) == {"data": {"ping": "pong"}}
    pid = postmaster(folder)
    assert is_running(pid)
    doctor = apart("doctor", "--port", str(urlsplit(url).port), "--json")
    details = {finding["check"]: finding["detail"] for finding in doctor.json}
    assert doctor.code == 0, details
    assert details["port"].startswith("an API-Factory answers at 127.0.0.1:")
    assert "PostgreSQL" in details["database"]
    assert fetch(f"{url}/_api/readyz")[0] == 200
    outcome = served.stop(signal.SIGTERM)
    ended(outcome)
    assert outcome.stdout == ""
    assert "development, 1 worker, " in outcome.stderr
    assert f"embedded PostgreSQL in {folder}/data/postgres" in outcome.stderr
    assert "Next: api-factory account create" in outcome.stderr
    assert not is_running(pid)
    assert "database system is shut down" in (folder / "data" / "postgres" / "postgres.log").read_text()


def test_commands_at_once_on_an_empty_directory_all_succeed(
    apart: Run, environment: dict[str, str], folder: Path
) -> None:
    with ThreadPoolExecutor() as threads:
        done = list(
            threads.map(
                lambda name: apart("account", "create", "--email", f"{name}@example.com", "--json"), "abc"
            )
        )
    assert [outcome.code for outcome in done] == [0, 0, 0], done
    listed = apart("account", "list", "--json").json
    assert sorted(each["id"] for each in listed) == sorted(outcome.json["id"] for outcome in done)


def test_the_line_that_the_demo_prints_answers_when_pasted(spawn: Spawn, fresh_database_url: str) -> None:
    demo = spawn("demo", "--port", "0", DATABASE_URL=fresh_database_url)
    line = demo.line()
    pasted = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=START_SECONDS)
    assert (pasted.returncode, pasted.stderr) == (0, "")
    answer = json.loads(pasted.stdout)
    assert list(answer) == ["data"]
    assert all(answer["data"].values())
    outcome = demo.stop(signal.SIGINT)
    ended(outcome)
    key = re.search(r"key +(af_live_\S+)", outcome.stderr)
    assert key is not None
    assert key[1] in line
    assert "[redacted]" in outcome.stderr or "postgres@" in outcome.stderr


def test_every_demo_has_one_key_of_its_own_and_a_call_is_charged(
    spawn: Spawn, apart: Run, fresh_database_url: str
) -> None:
    first = spawn("demo", "--port", "0", "--json", DATABASE_URL=fresh_database_url)
    old = json.loads(first.line())
    assert list(old) == ["url", "graphql", "admin", "key", "account", "stripe"]
    first.stop()
    second = spawn("demo", "--port", "0", "--json", "--workers", "2", DATABASE_URL=fresh_database_url)
    ready = json.loads(second.line())
    assert ready["account"] == old["account"]
    for _ in range(5):
        assert call(ready, '{ echo(text: "hi") }') == {"data": {"echo": "hi"}}
    bearer = {"Authorization": f"Bearer {old['key']}"}
    assert fetch(ready["graphql"], "POST", {"query": '{ echo(text: "hi") }'}, **bearer)[0] == 401
    keys = apart("key", "list", "--account", ready["account"], "--json", DATABASE_URL=fresh_database_url).json
    assert sorted(key["status"] for key in keys) == ["ACTIVE", "REVOKED"]
    assert set(BUILT_IN_SCOPES) <= set(keys[0]["scopes"])
    shown = apart("usage", "show", "--account", ready["account"], "--json", DATABASE_URL=fresh_database_url)
    assert (shown.json["used"], shown.json["limit"]) == (5, 1_000_000)
    (active,) = (key["id"] for key in keys if key["status"] == "ACTIVE")
    of_key = ("usage", "show", "--account", ready["account"], "--key", active, "--json")
    alone = apart(*of_key, DATABASE_URL=fresh_database_url).json
    assert (alone["used"], alone["limit"], alone["remaining"]) == (5, None, None)
    assert apart("usage", "verify", "--json", DATABASE_URL=fresh_database_url).json["drift"] == 0
    metrics = fetch(f"{ready['url']}/metrics")[1]
    assert 'api_factory_units_charged_total{action="echo"} 5.0' in metrics
    outcome = second.stop()
    ended(outcome)
    assert "2 workers" in outcome.stderr
    assert "line above" not in outcome.stderr
    assert ready["key"] not in outcome.stderr


def workers_of(pid: int) -> list[int]:
    """Return the processes that serve, without the Valkey beside them."""
    return [
        child for child in children_of(pid) if b"valkey" not in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_workers_are_replaced_when_they_die_and_end_with_their_parent(
    spawn: Spawn, fresh_database_url: str
) -> None:
    served = spawn("serve", "--port", "0", "--json", "--workers", "2", DATABASE_URL=fresh_database_url)
    url = json.loads(served.line())["url"]
    first, second = workers_of(served.child.pid)
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + START_SECONDS
    while len(workers := set(workers_of(served.child.pid)) - {first}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert second in workers
    assert fetch(f"{url}/_api/healthz")[0] == 200
    served.child.kill()
    wait_until_gone(*workers)
    assert "ended with -9; starting another" in served.end().stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_call_under_way_is_answered_before_the_server_ends(
    spawn: Spawn, folder: Path, fresh_database_url: str, workers: str
) -> None:
    (folder / "slow_actions.py").write_text(SLOW_ACTION)
    options = ("--port", "0", "--json", "--actions", "slow_actions", "--workers", workers)
    demo = spawn("demo", *options, DATABASE_URL=fresh_database_url)
    ready = json.loads(demo.line())
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(call, ready, '{ linger(text: "late") }')
        wait_for(folder / "called")
        ended(demo.stop())
        assert answer.result() == {"data": {"linger": "late"}}


def test_a_second_signal_ends_at_once(spawn: Spawn, folder: Path, fresh_database_url: str) -> None:
    (folder / "slow_actions.py").write_text(SLOW_ACTION.replace("1.0", "600"))
    demo = spawn(
        "demo", "--port", "0", "--json", "--actions", "slow_actions", DATABASE_URL=fresh_database_url
    )
    ready = json.loads(demo.line())
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(call, ready, '{ linger(text: "never") }')
        wait_for(folder / "called")
        demo.child.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            demo.child.wait(0.5)
        assert demo.stop(signal.SIGINT).code == 1
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            answer.result()


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stop_while_it_starts_leaves_nothing_running(spawn: Spawn, folder: Path) -> None:
    served = spawn("serve", "--port", "0")
    wait_for(folder / "data" / "postgres" / "data" / "postmaster.pid")
    pid = postmaster(folder)
    ended(served.stop(signal.SIGTERM))
    wait_until_gone(pid)


def test_a_taken_port_is_refused_before_anything_starts(apart: Run, folder: Path, taken_port: int) -> None:
    outcome = apart("serve", "--port", str(taken_port))
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        f"Error: Port {taken_port} of 127.0.0.1 is taken; "
        "name another with --port, or --port 0 for a free one.\n"
    )
    assert not (folder / "data").exists()
    elsewhere = apart("serve", "--host", "192.0.2.1", "--port", "0")
    assert "--host 192.0.2.1 is no address of this machine" in elsewhere.stderr
    nowhere = apart("serve", "--host", "no such host", "--port", "0", "--json")
    assert json.loads(nowhere.stderr)["error"]["code"] == "CONFIGURATION"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_actions_that_cannot_be_served_stop_the_start_with_their_sentence(
    apart: Run, folder: Path, fresh_database_url: str, workers: str
) -> None:
    (folder / "bad_actions.py").write_text(
        "from api_factory import action\n\n\n@action\nasync def bad(text) -> str:\n    return text\n"
    )
    options = ("--port", "0", "--workers", workers, "--actions", "bad_actions")
    outcome = apart("serve", *options, DATABASE_URL=fresh_database_url)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "bad_actions.bad, parameter 'text': it has no annotation" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_manifest_that_does_not_fit_the_schema_stops_the_start_with_its_sentence(
    apart: Run, folder: Path, fresh_database_url: str, workers: str
) -> None:
    manifest = folder / "trusted.json"
    manifest.write_text('{"say": "{ nothing }"}')
    outcome = apart(
        *("serve", "--port", "0", "--workers", workers),
        DATABASE_URL=fresh_database_url,
        API_FACTORY_TRUSTED_DOCUMENTS=str(manifest),
    )
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "API_FACTORY_TRUSTED_DOCUMENTS: the document 'say' is refused" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_actions_that_cannot_be_loaded_stop_the_start_before_a_database_is_made(
    apart: Run, folder: Path
) -> None:
    outcome = apart("serve", "--port", "0", "--actions", "nope_mod")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "nope_mod" in outcome.stderr
    assert "PostgreSQL" not in outcome.stderr
    assert not (folder / "data").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_embedded_database_that_dies_is_started_again_while_the_server_runs(
    spawn: Spawn, folder: Path, workers: str
) -> None:
    demo = spawn("demo", "--port", "0", "--json", "--workers", workers)
    ready = json.loads(demo.line())
    assert call(ready, '{ echo(text: "before") }') == {"data": {"echo": "before"}}
    for _ in range(2):
        pid = postmaster(folder)
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        deadline = time.monotonic() + START_SECONDS
        # A child of the dead one may still answer for a moment.
        while not has_another_postmaster(folder, pid) or fetch(f"{ready['url']}/_api/readyz")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    while '"after"' not in echo(ready, "after"):  # the ledger refuses for a second after an outage
        assert time.monotonic() < deadline
        time.sleep(1.2)
    outcome = demo.stop()
    assert outcome.code == 0
    assert outcome.stderr.count("the embedded PostgreSQL has ended; it is started again") == 2
    assert not (folder / "data" / "postgres" / "data" / "postmaster.pid").exists()


def test_a_redis_that_is_away_does_not_keep_the_server_from_serving(
    spawn: Spawn, fresh_database_url: str
) -> None:
    redis_url = "redis://:hunter2@127.0.0.1:1/0"
    served = spawn("serve", "--port", "0", "--json", DATABASE_URL=fresh_database_url, REDIS_URL=redis_url)
    served.line()
    outcome = served.stop()
    assert outcome.code == 0
    assert "hunter2" not in outcome.stderr


def test_workers_that_cannot_start_end_the_server(apart: Run, folder: Path, fresh_database_url: str) -> None:
    # Only the workers see the difference: the parent has loaded the module before it changes.
    (folder / "fickle_actions.py").write_text(
        "from pathlib import Path\n\nfrom api_factory import action\n\n"
        "if Path('seen').exists():\n    raise RuntimeError('changed')\nPath('seen').touch()\n\n\n"
        '@action\nasync def fickle(text: str) -> str:\n    """Answer."""\n    return text\n'
    )
    options = ("--port", "0", "--workers", "2", "--actions", "fickle_actions")
    outcome = apart("serve", *options, DATABASE_URL=fresh_database_url)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "fickle_actions: cannot be imported (RuntimeError: changed)" in outcome.stderr
    assert "the server could not start" in outcome.stderr


def test_the_demo_refuses_production_with_a_sentence(apart: Run, fresh_database_url: str) -> None:
    outcome = apart(
        "demo",
        *("--port", "0"),
        DATABASE_URL=fresh_database_url,
        API_FACTORY_ENV="production",
        API_FACTORY_KEY_PEPPER="a pepper of forty characters for tests 1",
        API_FACTORY_METRICS_TOKEN="b" * 40,
    )
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "it does not run in production; use `api-factory serve`" in outcome.stderr

    async def accounts() -> int:
        connection = await asyncpg.connect(fresh_database_url)
        count: int = await connection.fetchval("SELECT count(*) FROM account")
        await connection.close()
        return count

    assert asyncio.run(accounts()) == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("api.example.test", "http://api.example.test:8000"),
    ],
)
def test_the_address_that_is_printed_can_be_called(host: str, url: str) -> None:
    assert url_of(host, 8000) == url
