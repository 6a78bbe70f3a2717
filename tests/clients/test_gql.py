"""gql, the client of Python, over each of its transports: answers, refusals, retries, its own schema."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from gql import Client, GraphQLRequest, gql
from gql.transport import AsyncTransport
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport, HTTPXTransport
from gql.transport.requests import RequestsHTTPTransport

from tests.clients.conftest import Server

ECHO = "query Echo($text: String!) { echo(text: $text) }"
LIMITED = "1/3second"

Execute = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Gql:
    """A client over one kind of transport; the synchronous ones run in a thread."""

    kind: type[Any]
    url: str

    async def echo(self, key: str | None, text: str = "hi", **options: Any) -> tuple[Any, dict[str, str]]:
        """Run `Echo`; return its data and the headers of the reply, their names in lower case."""
        transport = self.transport(key, **options)
        client = Client(transport=transport)
        request = GraphQLRequest(ECHO, variable_values={"text": text})
        if isinstance(transport, AsyncTransport):
            data = await client.execute_async(request)
        else:
            data = await asyncio.to_thread(client.execute, request)
        return data, self.headers(transport)

    def transport(self, key: str | None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.kind(url=self.url, headers=headers, **options)

    @staticmethod
    def headers(transport: Any) -> dict[str, str]:
        return {name.lower(): value for name, value in transport.response_headers.items()}


@pytest.fixture(
    params=[HTTPXTransport, HTTPXAsyncTransport, AIOHTTPTransport, RequestsHTTPTransport],
    ids=lambda kind: kind.__name__,
)
def client(request: pytest.FixtureRequest, server: Server) -> Gql:
    return Gql(request.param, server.graphql)


async def test_a_call_with_a_key_is_answered_with_its_limits(client: Gql, key: str) -> None:
    data, headers = await client.echo(key)
    assert data == {"echo": "hi"}
    assert headers["ratelimit-policy"].startswith('"second";q=100000;w=1')


async def test_a_call_without_a_key_is_refused_with_its_code(client: Gql) -> None:
    with pytest.raises(TransportQueryError) as refused:
        await client.echo(None)
    (error,) = refused.value.errors or []
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert refused.value.data is None


@pytest.fixture(scope="module")
def reading_key(server: Server) -> str:
    return server.key(scopes=("READ_USAGE",))


async def test_a_key_without_the_scope_is_refused_with_what_it_lacks(client: Gql, reading_key: str) -> None:
    with pytest.raises(TransportQueryError) as refused:
        await client.echo(reading_key)
    (error,) = refused.value.errors or []
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert error["extensions"]["requiredScopes"] == ["RUN_ACTIONS"]


async def test_whoever_waits_as_long_as_the_refusal_says_is_answered(client: Gql, server: Server) -> None:
    key = server.key(rate=LIMITED)
    refusal = await refused_for_the_rate(client, key)
    assert refusal["extensions"]["code"] == "RATE_LIMITED"
    await asyncio.sleep(refusal["extensions"]["retryAfter"])
    data, _ = await client.echo(key, "at last")
    assert data == {"echo": "at last"}


async def refused_for_the_rate(client: Gql, key: str) -> Any:
    for _ in range(20):
        try:
            await client.echo(key)
        except TransportQueryError as refused:
            (error,) = refused.errors or []
            return error
    pytest.fail("twenty calls were let in")


async def test_the_retries_of_requests_wait_as_long_as_the_header_says(server: Server) -> None:
    client = Gql(RequestsHTTPTransport, server.graphql)
    key = server.key(rate=LIMITED)
    await refused_for_the_rate(client, key)
    # Without a pause of its own it would use up its one retry at once.
    data, _ = await client.echo(key, "at last", retries=1, retry_backoff_factor=0)
    assert data == {"echo": "at last"}


async def test_a_client_that_fetches_the_schema_checks_queries_before_it_sends_them(
    server: Server, key: str
) -> None:
    transport = Gql(HTTPXAsyncTransport, server.graphql).transport(key)
    async with Client(transport=transport, fetch_schema_from_transport=True) as session:
        assert await session.execute(gql("{ ping }")) == {"ping": "pong"}
        assert session.client.schema is not None
        assert session.client.schema.mutation_type is not None
        with pytest.raises(Exception, match="Cannot query field 'pong' on type 'Query'"):
            await session.execute(gql("{ pong }"))


async def test_a_large_reply_comes_compressed_to_every_transport_that_asks_for_it(
    client: Gql, key: str
) -> None:
    transport = client.transport(key)
    fetching = Client(transport=transport, fetch_schema_from_transport=True)
    if isinstance(transport, AsyncTransport):
        async with fetching:
            headers = client.headers(transport)
    else:
        headers = await asyncio.to_thread(_fetch_schema, fetching, client)
    assert fetching.schema is not None
    assert headers["content-encoding"] == "gzip"


def _fetch_schema(fetching: Client, client: Gql) -> dict[str, str]:
    with fetching:
        return client.headers(fetching.transport)
