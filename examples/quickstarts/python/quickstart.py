"""Calls an API-Factory with gql: a paid call, what is left of the quota, and a refusal."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from gql import Client, GraphQLRequest, gql
from gql.client import AsyncClientSession
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport

URL = os.environ.get("API_URL", "http://127.0.0.1:8000") + "/graphql"
ATTEMPTS = 3

ECHO = gql("query Echo($text: String!) { echo(text: $text) }")
QUOTA = gql("query Quota { viewer { quota { used included } } }")


def client(key: str | None) -> Client:
    """Return a client that carries this key."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return Client(transport=HTTPXAsyncTransport(url=URL, headers=headers))


async def call(session: AsyncClientSession, request: GraphQLRequest) -> dict[str, Any]:
    """Run an operation; wait when the server says for how long, a few times."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await session.execute(request)
        except TransportQueryError as refused:
            reason = extensions(refused)
            if reason["code"] != "RATE_LIMITED":
                raise
            await asyncio.sleep(reason["retryAfter"])
    return await session.execute(request)


def extensions(refused: TransportQueryError) -> dict[str, Any]:
    """Return the code of a refusal, and what else is said for programs to read."""
    (error, *_) = refused.errors or [{}]
    found: dict[str, Any] = error.get("extensions", {})
    return found


async def main(key: str) -> None:
    """Make a paid call, read the quota, and be refused without a key."""
    async with client(key) as session:
        answer = await call(session, GraphQLRequest(ECHO, variable_values={"text": "Hello from Python"}))
        print(answer["echo"])
        quota = (await call(session, QUOTA))["viewer"]["quota"]
        print(f"{quota['used']} of {quota['included'] or 'unlimited'} units used")
    async with client(None) as session:
        try:
            await call(session, GraphQLRequest(ECHO, variable_values={"text": "Let me in"}))
        except TransportQueryError as refused:
            print(f"Refused without a key: {extensions(refused)['code']}")


if __name__ == "__main__":
    if "API_KEY" not in os.environ:
        sys.exit("Put an API key into API_KEY; `python3 dev.py demo` prints one.")
    asyncio.run(main(os.environ["API_KEY"]))
