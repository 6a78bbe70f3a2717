"""The whole loop as its user walks it: account and key by command, a call by `gql`, one set of numbers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport

ROOT = Path(__file__).resolve().parent.parent
TEXT = "The quick brown fox jumps over the lazy dog. It was not amused; the fox was."
STATISTICS = "query Count($text: String!) { textStatistics(text: $text) { words sentences } }"
NUMBERS = (
    "{ viewer { quota { included used reserved remaining } } usage { calls errors units }"
    " rateLimit { remaining windows { policy { name limit } remaining } } }"
)


@dataclass
class Server:
    """The command line and the server of one database."""

    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[str] | None = None
    url: str = ""

    def command(self, *arguments: str) -> Any:
        """Run a command with --json; return what it prints."""
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

    def start(self, *options: str) -> None:
        """Serve; return when it is ready."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api_factory.cli", "serve", "--port", "0", "--json", *options],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        assert set(ready) == {"url", "graphql", "admin"}
        self.url = ready["url"]

    def stop(self) -> int:
        """End it as an operator would; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    async def execute(self, key: str, document: str, **variables: object) -> tuple[dict[str, Any], Any]:
        """Execute with the real client; return the data and the headers."""
        transport = HTTPXAsyncTransport(self.url + "/graphql", headers={"Authorization": f"Bearer {key}"})
        request = GraphQLRequest(document, variable_values=variables)
        async with Client(transport=transport) as session:
            return await session.execute(request), transport.response_headers

    async def metric(self, sample: str) -> float:
        """Return one sample of /metrics, 0 when it is not there yet."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(self.url + "/metrics")).text
        found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture
def server(fresh_database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server with the example actions, not started yet."""
    examples = str(ROOT / "examples" / "text_actions")
    served = Server(
        {
            **os.environ,
            "DATABASE_URL": fresh_database_url,
            "API_FACTORY_DATA_DIR": str(tmp_path),
            "API_FACTORY_ACTIONS": "text_actions",
            "PYTHONPATH": os.pathsep.join([str(ROOT), examples]),
        },
        tmp_path / "server.log",
    )
    yield served
    if served.process is not None:
        served.process.kill()
        served.process.wait()
        if served.process.stdout is not None:
            served.process.stdout.close()


async def test_every_place_shows_the_same_numbers_to_the_unit_and_still_does_after_a_restart(
    server: Server,
) -> None:
    account = server.command("account", "create", "--email", "loop@example.test", "--quota", "50")["id"]
    issued = server.command("key", "create", "--account", account, "--name", "loop")
    key = issued["secret"]
    assert issued["account"] == account
    server.start()
    for _ in range(3):
        data, headers = await server.execute(key, STATISTICS, text=TEXT)
        assert data == {"textStatistics": {"words": 16, "sentences": 2}}
    units = 50 - int(re.search(r'"quota";r=(\d+);t=\d+', headers["ratelimit"])[1])
    assert units == 3
    assert re.search(r'"quota";q=50;w=\d+', headers["ratelimit-policy"])
    assert headers["x-request-id"]
    assert await server.metric('api_factory_units_charged_total{action="text_statistics"}') == units
    assert await server.metric('api_factory_action_calls_total{action="text_statistics",outcome="ok"}') == 3
    for restarted in (False, True):
        if restarted:
            assert server.stop() == 0
            server.start()
        numbers, _ = await server.execute(key, NUMBERS)
        assert numbers["viewer"]["quota"] == {"included": 50, "used": 3, "reserved": 0, "remaining": 47}
        assert numbers["usage"] == {"calls": 3, "errors": 0, "units": 3}
        shown = server.command("usage", "show", "--account", account)
        assert (shown["used"], shown["reserved"], shown["limit"]) == (3, 0, 50)
        assert server.command("usage", "verify")["drift"] == 0
    connection = await asyncpg.connect(server.environment["DATABASE_URL"])
    try:
        assert await connection.fetchval("SELECT sum(units)::int FROM usage_event") == 3
        assert await connection.fetchval("SELECT used FROM quota WHERE livemode") == 3
    finally:
        await connection.close()
    await server.execute(key, STATISTICS, text=TEXT)
    assert server.command("usage", "show", "--account", account)["used"] == 4
    assert server.stop() == 0


async def test_two_hundred_callers_for_a_hundred_units_get_exactly_a_hundred_replies(server: Server) -> None:
    account = server.command(
        "account", "create", "--email", "race@example.test", "--quota", "100", "--rate", "100000/second"
    )["id"]
    key = server.command("key", "create", "--account", account, "--name", "race")["secret"]
    server.start("--workers", "2")
    body = {"query": '{ textStatistics(text: "one two") { words } }'}
    limits = httpx.Limits(max_connections=50)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        replies = await asyncio.gather(
            *(
                client.post(server.url + "/graphql", json=body, headers={"Authorization": f"Bearer {key}"})
                for _ in range(200)
            )
        )
    statuses = [reply.status_code for reply in replies]
    assert (statuses.count(200), statuses.count(429)) == (100, 100)
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert refused.json()["errors"][0]["extensions"]["code"] == "QUOTA_EXCEEDED"
    assert "data" not in refused.json()
    assert int(refused.headers["retry-after"]) > 0
    shown = server.command("usage", "show", "--account", account)
    assert (shown["used"], shown["reserved"]) == (100, 0)
    assert server.command("usage", "verify")["drift"] == 0
    # Two workers, one sum.
    assert await server.metric('api_factory_units_charged_total{action="text_statistics"}') == 100
    assert await server.metric('api_factory_requests_total{code="OK",surface="graphql"}') == 100
    assert await server.metric('api_factory_requests_total{code="QUOTA_EXCEEDED",surface="graphql"}') == 100
    assert server.stop() == 0


async def test_a_refusal_reaches_the_real_client_with_its_code(server: Server) -> None:
    account = server.command(
        "account", "create", "--email", "no@example.test", "--quota", "1", "--rate", "3/minute"
    )["id"]
    created = server.command("key", "create", "--account", account, "--name", "no")
    server.start()
    secret = created["secret"]

    async def code_of(document: str, **variables: object) -> str:
        with pytest.raises(TransportQueryError) as refusal:
            await server.execute(secret, document, **variables)
        assert refusal.value.errors is not None
        return str(refusal.value.errors[0]["extensions"]["code"])

    await server.execute(secret, STATISTICS, text=TEXT)
    assert await code_of(STATISTICS, text=TEXT) == "QUOTA_EXCEEDED"
    await server.execute(secret, "{ viewer { id } }")
    assert await code_of("{ viewer { id } }") == "RATE_LIMITED"
    server.command("key", "revoke", created["id"])
    assert await code_of("{ viewer { id } }") == "UNAUTHENTICATED"
    assert server.command("usage", "show", "--account", account)["used"] == 1
    assert server.stop() == 0


async def test_no_log_line_reply_or_command_holds_a_secret(server: Server) -> None:
    server.environment |= {
        "API_FACTORY_LOG_LEVEL": "debug",
        "API_FACTORY_METRICS_TOKEN": "metrics-" + "t" * 20,
    }
    account = server.command("account", "create", "--email", "quiet@example.test")["id"]
    key = server.command("key", "create", "--account", account, "--name", "quiet")["secret"]
    pepper = (Path(server.environment["API_FACTORY_DATA_DIR"]) / "pepper").read_text()
    server.start()
    bearer, graphql, rest = {"Authorization": f"Bearer {key}"}, "/graphql", "/api/v1/actions"
    seen: list[str] = []
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        for method, path, headers, body in (
            ("POST", graphql, bearer, {"query": "{ viewer { id apiKey { name hint } } }"}),
            ("POST", graphql, bearer, {"query": f'{{ textStatistics(text: "{key}") {{ nothing }} }}'}),
            ("POST", graphql, bearer, {"query": f"{{ {key} }}"}),
            ("POST", graphql, {"Authorization": f"Basic {key}"}, {"query": "{ viewer { id } }"}),
            ("POST", graphql, {"Authorization": f"Bearer {key}x"}, {"query": "{ viewer { id } }"}),
            ("POST", graphql, {"X-API-Key": key[:-1]}, {"query": "{ viewer { id } }"}),
            ("GET", f"{rest}/{key}?key={key}", {}, None),
            ("POST", f"{rest}/text_statistics", bearer, {key: key}),
            ("POST", rest, bearer, {"action": key}),
            ("GET", "/metrics", {"Authorization": f"Bearer {key}"}, None),
            ("GET", "/_api/readyz", {"X-Request-Id": key}, None),
        ):
            reply = await client.request(method, path, headers=headers, json=body)
            assert reply.status_code < 500
            sent = f"{path} {body}"
            # What a client wrote into a document or a body may be quoted to him; what he is known by may not.
            seen.append(str(reply.headers) + ("" if key in sent else reply.text))
    for words in (("key", "list"), ("key", "show", "--account", account), ("account", "list"), ("doctor",)):
        done = subprocess.run(
            [sys.executable, "-m", "api_factory.cli", *words],
            env=server.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        seen.append(done.stdout + done.stderr)
    assert server.stop() == 0
    seen.append(server.log.read_text())
    assert "/graphql" in seen[-1]
    for secret in (key, key[:-7][-30:], pepper, server.environment["API_FACTORY_METRICS_TOKEN"]):
        assert not [text for text in seen if secret in text]
