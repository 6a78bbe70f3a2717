"""Large replies travel as gzip, where the client asks for it and nothing can be guessed by it."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest

from api.compression import THREAD_FROM_BYTES, CompressedReply, prefers_gzip

GRAPHQL = "application/graphql-response+json"
KEY = "af_test_key"


async def call(
    client: httpx.AsyncClient, value: Any, *, accept_encoding: str | None = "gzip", path: str = "/graphql"
) -> httpx.Response:
    """Have a value returned, by GraphQL or REST; httpx decodes what is encoded."""
    headers = {"accept": GRAPHQL, "x-api-key": KEY, "accept-encoding": accept_encoding or ""}
    if accept_encoding is None:
        del client.headers["accept-encoding"]
        del headers["accept-encoding"]
    if path == "/graphql":
        body = {"query": "query ($v: JSON) { returned(value: $v) }", "variables": {"v": value}}
        return await client.post(path, json=body, headers=headers)
    return await client.post(
        "/api/v1/actions/returned", json={"value": value}, headers={**headers, "accept": "*/*"}
    )


@pytest.fixture
def client(build: Any, connect: Any) -> Any:
    app, _ = build(has_graphql=True, compress_from_bytes=1_000, max_body_bytes=1_000_000)
    return connect(app)


@pytest.mark.parametrize("path", ["/graphql", "rest"])
async def test_a_large_reply_is_compressed_for_who_accepts_it(client: httpx.AsyncClient, path: str) -> None:
    text = "abcdefgh" * 1_000
    reply = await call(client, text, path=path)
    assert reply.status_code == 200
    assert reply.headers["content-encoding"] == "gzip"
    assert int(reply.headers["content-length"]) < 500
    assert "Accept-Encoding" in reply.headers["vary"]
    data = reply.json()["data"]
    assert (data["returned"] if path == "/graphql" else data) == text


@pytest.mark.parametrize("accept_encoding", [None, "", "identity", "br, deflate", "gzip;q=0", "*;q=0"])
async def test_who_does_not_accept_gzip_gets_the_bytes_as_they_are(
    client: httpx.AsyncClient, accept_encoding: str | None
) -> None:
    reply = await call(client, "x" * 5_000, accept_encoding=accept_encoding)
    assert "content-encoding" not in reply.headers
    assert int(reply.headers["content-length"]) > 5_000
    assert "Accept-Encoding" in reply.headers["vary"]


@pytest.mark.parametrize(
    ("header", "is_preferred"),
    [
        (b"gzip", True),
        (b"GZip , deflate, br", True),
        (b"*", True),
        (b"gzip;q=0.001", True),
        (b"br;q=1.0, gzip;q=0.5, *;q=0", True),
        (b"identity;q=0.5, gzip;q=0.5", True),
        (b"identity, gzip;q=0.5", False),
        (b"gzip;q=0, *", False),
        (b"gzip;q=x", False),
        (b"gzipped", False),
        (b"\xff", False),
    ],
)
def test_the_coding_is_negotiated_by_weight(header: bytes, is_preferred: bool) -> None:
    assert prefers_gzip(header) is is_preferred


async def test_a_small_reply_is_left_as_it_is(client: httpx.AsyncClient) -> None:
    assert "content-encoding" not in (await call(client, "x" * 800)).headers
    assert "content-encoding" in (await call(client, "x" * 1_000)).headers


async def test_a_very_large_reply_is_whole(client: httpx.AsyncClient) -> None:
    text = "".join(map(str, range(THREAD_FROM_BYTES // 4)))
    reply = await call(client, text)
    assert reply.json()["data"]["returned"] == text
    assert int(reply.headers["content-length"]) < len(text)


async def test_refusals_and_the_schema_are_compressed_and_pages_are_not(build: Any, connect: Any) -> None:
    app, _ = build(compress_from_bytes=10)
    client = connect(app)
    for path in ("/api/v1/openapi.json", "/schema.graphql", "/api/v1/nothing"):
        assert (await client.get(path)).headers["content-encoding"] == "gzip", path
    for path in ("/", "/docs/errors", "/static/pages.css", "/_api/readyz", "/metrics"):
        assert "content-encoding" not in (await client.get(path)).headers, path
    head, get = await client.head("/schema.graphql"), await client.get("/schema.graphql")
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_compression_is_off_by_setting(build: Any, connect: Any) -> None:
    app, _ = build(has_graphql=True, compress_from_bytes=0, max_body_bytes=100_000)
    reply = await call(connect(app), "x" * 50_000)
    assert "content-encoding" not in reply.headers
    assert "Accept-Encoding" not in reply.headers["vary"]


def messages(length: int, *parts: bytes, **headers: str) -> list[dict[str, Any]]:
    """Return a reply of JSON as ASGI sends it."""
    fields = {"content-type": "application/json", "content-length": str(length), **headers}
    pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
    bodies = [
        {"type": "http.response.body", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    return [{"type": "http.response.start", "status": 200, "headers": pairs}, *bodies]


async def sent(said: list[dict[str, Any]], **state: bool) -> list[dict[str, Any]]:
    """Return what arrives of a reply."""
    arrived: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        arrived.append(message)

    reply = CompressedReply(send, {"state": state}, 100)
    for message in said:
        await reply(message)
    return arrived


async def test_a_reply_with_a_secret_is_never_compressed() -> None:
    plain = messages(200, b"x" * 200)
    assert await sent(plain, no_compression=True) == plain
    start, body = await sent(plain)
    assert gzip.decompress(body["body"]) == b"x" * 200
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()


@pytest.mark.parametrize(
    "said",
    [
        messages(200, b"x" * 100, b"x" * 100),
        messages(200, b""),
        messages(200, b"x" * 200, **{"content-encoding": "br"}),
        messages(200, b"x" * 200, **{"content-type": "image/png"}),
        messages(50, b"x" * 50),
    ],
)
async def test_what_is_streamed_empty_encoded_or_small_passes_unchanged(said: list[dict[str, Any]]) -> None:
    assert await sent(said) == said
