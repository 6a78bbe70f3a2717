"""Idempotency-Key on GraphQL: the same bytes again, one charge, one change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from api_factory.keys import NewKey
from tests.schema.conftest import CLI, GRAPHQL, JSON

if TYPE_CHECKING:
    import httpx

    from tests.schema.conftest import House

WRITE = 'mutation { write(what: "ä\\u0000") }'
CREATE = 'mutation { createKey(input: {name: "made"}) { apiKey { id } %s userErrors { code } } }'


class Client:
    """One key, and a name for its requests."""

    def __init__(self, house: House, secret: str, account_id: Any = None) -> None:
        self.house = house
        self.secret = secret
        self.account_id = account_id

    async def post(self, query: str, name: Any = "order-1", *, accept: str = GRAPHQL) -> httpx.Response:
        names = [name] if isinstance(name, (str, bytes)) else name
        headers: list[tuple[str, str | bytes]] = [
            ("accept", accept),
            ("content-type", JSON),
            ("x-api-key", self.secret),
            *(("idempotency-key", each) for each in names),
        ]
        return await self.house.http.post(
            "/graphql",
            content=orjson.dumps({"query": query}),
            headers=headers,  # type: ignore[arg-type]
        )

    async def used(self) -> int:
        return (await self.house.engine.usage.standing(self.account_id)).used


@pytest.fixture
async def client(house: House) -> Client:
    account = await house.account()
    issued = await house.key(account, "RUN_ACTIONS", "MANAGE_KEYS", "READ_USAGE")
    return Client(house, issued.secret, account.id)


def code_of(reply: httpx.Response) -> str:
    return str(reply.json()["errors"][0]["extensions"]["code"])


async def test_a_retried_mutation_runs_once_and_gets_the_same_bytes(client: Client, seen: list[Any]) -> None:
    """Fails when the reply is rendered again instead of kept: a second request id, or a second run."""
    first = await client.post(WRITE)
    assert first.status_code == 200, first.text
    assert "idempotency-replayed" not in first.headers
    for _ in range(2):
        again = await client.post(WRITE)
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["x-original-request-id"] == first.headers["x-request-id"]
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(seen) == 1
    assert await client.used() == 1


async def test_the_stored_reply_is_the_one_that_was_sent_whatever_the_retry_accepts(client: Client) -> None:
    first = await client.post(WRITE)
    again = await client.post(WRITE, accept=JSON)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.content == first.content


async def test_a_billable_query_is_charged_once_and_a_free_one_needs_no_entry(
    client: Client, house: House
) -> None:
    first = await client.post('{ echo(text: "a") }')
    assert (await client.post('{ echo(text: "a") }')).headers["idempotency-replayed"] == "true"
    assert first.status_code == 200
    assert await client.used() == 1
    for _ in range(2):
        reply = await client.post("{ ping viewer { id } }", "another")
        assert reply.status_code == 200
        assert "idempotency-replayed" not in reply.headers
    assert await house.engine.db.fetchval("SELECT count(*) FROM idempotency") == 1


async def test_a_failed_mutation_is_answered_the_same_and_not_run_again(
    client: Client, seen: list[Any]
) -> None:
    first = await client.post("mutation { writeFails }")
    again = await client.post("mutation { writeFails }")
    assert code_of(first) == "NO"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert seen == ["failed"]
    assert await client.used() == 0


@pytest.mark.usefixtures("logs_errors")
@pytest.mark.parametrize("query", ["{ crash }", "{ mangled }", "{ lie { textSaid } }"])
async def test_a_fault_of_the_server_is_not_kept_for_retries(
    client: Client, house: House, query: str
) -> None:
    for _ in range(2):
        reply = await client.post(query)
        assert code_of(reply) == "INTERNAL"
        assert "idempotency-replayed" not in reply.headers
    assert await house.engine.db.fetchval("SELECT count(*) FROM idempotency") == 0
    assert await client.used() == 0


async def test_another_payload_under_the_same_name_is_refused(client: Client, seen: list[Any]) -> None:
    await client.post(WRITE)
    for query in ('mutation { write(what: "b") }', '{ echo(text: "a") }', f"{WRITE} "):
        reply = await client.post(query)
        assert (reply.status_code, code_of(reply)) == (422, "IDEMPOTENCY_CONFLICT")
        assert "retryAfter" not in reply.json()["errors"][0]["extensions"]
    assert len(seen) == 1
    assert await client.used() == 1


@pytest.mark.parametrize(
    "name", ["", '""', "x" * 300, b"a\x01b", "ä".encode(), b"\xff", "a b", ["one", "two"], ['"a"', '"a"']]
)
async def test_a_value_that_is_no_name_is_refused_and_nothing_runs(
    client: Client, name: Any, seen: list[Any]
) -> None:
    reply = await client.post(WRITE, name)
    assert (reply.status_code, code_of(reply)) == (400, "BAD_USER_INPUT")
    assert "Idempotency-Key" in reply.json()["errors"][0]["message"]
    assert seen == []


async def test_a_key_is_created_once_when_its_secret_is_not_asked_for(client: Client, house: House) -> None:
    first = await client.post(CREATE % "")
    again = await client.post(CREATE % "")
    assert first.json()["data"]["createKey"]["apiKey"]["id"]
    assert again.content == first.content
    assert await house.engine.db.fetchval("SELECT count(*) FROM api_key WHERE name = 'made'") == 1


@pytest.mark.parametrize(
    "selection", ["secret", "s: secret", "... on ApiKeySecretPayload { secret }", "... { secret }"]
)
async def test_a_reply_that_shows_a_secret_is_never_stored_and_the_client_is_told(
    client: Client, house: House, selection: str
) -> None:
    """Fails when the pass over the operation does not see the field: the secret lies in the database."""
    reply = await client.post(CREATE % selection)
    assert (reply.status_code, code_of(reply)) == (400, "BAD_USER_INPUT")
    assert "secret" in reply.json()["errors"][0]["message"]
    assert await house.engine.db.fetchval("SELECT count(*) FROM api_key WHERE name = 'made'") == 0
    without = await client.post(CREATE % selection, [])
    assert without.json()["data"]["createKey"]["userErrors"] == []
    assert await house.engine.db.fetchval("SELECT count(*) FROM idempotency") == 0


def test_no_field_of_the_schema_that_is_called_secret_is_overlooked(guarded: Any) -> None:
    from schema.operation import SECRETS

    found = {
        f"{name}.{field}"
        for name, kind in guarded.core.type_map.items()
        for field in getattr(kind, "fields", {})
        if "secret" in field.lower()
    }
    assert found == SECRETS


async def test_management_is_done_once_and_answered_twice(client: Client, house: House) -> None:
    other = await house.engine.keys.create(client.account_id, NewKey(name="other"), by=CLI)
    query = f'mutation {{ revokeKey(input: {{id: "{other.key.public_id}"}}) {{ userErrors {{ code }} }} }}'
    first = await client.post(query)
    again = await client.post(query)
    assert first.json()["data"]["revokeKey"]["userErrors"] == []
    assert again.content == first.content
    assert (await client.post(query, "other")).json()["data"]["revokeKey"]["userErrors"] != []


async def test_a_key_that_may_not_is_told_so_and_not_what_was_answered(client: Client, house: House) -> None:
    await client.post(WRITE)
    poor = await house.engine.keys.create(
        client.account_id, NewKey(name="poor", scopes=("READ_USAGE",)), by=CLI
    )
    reply = await Client(house, poor.secret).post(WRITE)
    assert (reply.status_code, code_of(reply)) == (403, "FORBIDDEN")
    reply = await Client(house, "af_live_wrong").post(WRITE)
    assert (reply.status_code, code_of(reply)) == (401, "UNAUTHENTICATED")
