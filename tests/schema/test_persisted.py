"""Persisted documents: by id from the operator's manifest, and by hash from clients that registered them."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from api_factory.errors import ConfigurationError
from schema.documents import Documents
from schema.http import GraphQLHTTP
from schema.registered import RegisteredDocuments, hash_of
from schema.trusted import load_trusted, read_manifest

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
ECHO = "query Say($text: String!) { echo(text: $text) }"
PING = "{ ping }"
WRITE = 'mutation { write(what: "x") }'
CREATE = "mutation ($new: CreateKeyInput!) { createKey(input: $new) { apiKey { id trustedDocumentsOnly } } }"


def apq(text: str) -> dict[str, Any]:
    """Return the extensions that name a text by its hash."""
    return {"persistedQuery": {"version": 1, "sha256Hash": hash_of(text)}}


@dataclasses.dataclass
class Client:
    """Sends requests of any members to the face over a whole engine."""

    app: GraphQLHTTP
    http: httpx.AsyncClient

    async def send(self, *, key: Any = None, accept: str = GRAPHQL, **members: Any) -> httpx.Response:
        """Send a POST."""
        headers = {"accept": accept} | ({} if key is None else {"x-api-key": key.secret})
        return await self.http.post("/graphql", json=members, headers=headers)

    async def get(self, *, key: Any = None, **parameters: Any) -> httpx.Response:
        """Send a GET, its structured parameters as JSON."""
        headers = {"accept": GRAPHQL} | ({} if key is None else {"x-api-key": key.secret})
        written = {
            name: value if isinstance(value, str) else orjson.dumps(value).decode()
            for name, value in parameters.items()
        }
        return await self.http.get("/graphql", params=written, headers=headers)


@pytest.fixture
async def client(house: Any, guarded: Any, tmp_path: Path) -> AsyncIterator[Client]:
    """A face whose manifest trusts four documents."""
    manifest = tmp_path / "trusted.json"
    texts = {"say": ECHO, f"sha256:{hash_of(PING)}": PING, "x-mine:1": WRITE, "create": CREATE}
    manifest.write_bytes(orjson.dumps(texts))
    settings = house.engine.settings.model_copy(update={"trusted_documents": manifest})
    app = GraphQLHTTP(dataclasses.replace(house.engine, settings=settings), guarded)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as http:
        yield Client(app, http)


def code_of(reply: httpx.Response) -> tuple[int, str]:
    """Return the status of a refusal and its one code."""
    (error,) = reply.json()["errors"]
    assert set(reply.json()) == {"errors"}
    return reply.status_code, error["extensions"]["code"]


async def test_a_trusted_document_runs_by_its_id_by_post_and_get(house: Any, client: Client) -> None:
    key = await house.key(await house.account())
    sent = {"documentId": "say", "variables": {"text": "hi"}}
    assert (await client.send(key=key, **sent)).json() == {"data": {"echo": "hi"}}
    assert (await client.get(key=key, **sent)).json() == {"data": {"echo": "hi"}}
    by_hash = await client.send(documentId=f"sha256:{hash_of(ECHO)}", variables={"text": "hi"}, key=key)
    assert by_hash.json() == {"data": {"echo": "hi"}}
    named = await client.send(documentId="say", operationName="Other", key=key)
    assert code_of(named) == (400, "OPERATION_RESOLUTION_FAILURE")


async def test_a_trusted_document_is_checked_like_any_other(client: Client) -> None:
    assert code_of(await client.send(documentId="say", variables={"text": "hi"})) == (401, "UNAUTHENTICATED")
    assert code_of(await client.send(documentId="say")) == (400, "BAD_USER_INPUT")
    assert (await client.send(documentId=f"sha256:{hash_of(PING)}")).json() == {"data": {"ping": "pong"}}
    assert code_of(await client.get(documentId="x-mine:1")) == (405, "BAD_USER_INPUT")


@pytest.mark.parametrize(
    "document_id", ["unknown", "sha256:0", f"sha256:{hash_of('{ nobody }')}", "sha512:1"]
)
async def test_an_unknown_id_is_one_error(client: Client, document_id: str) -> None:
    assert code_of(await client.send(documentId=document_id)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    lenient = await client.send(documentId=document_id, accept=JSON)
    assert code_of(lenient) == (200, "PERSISTED_QUERY_NOT_FOUND")


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"documentId": 7},
        {"documentId": "say", "query": PING},
        {"documentId": "say", "extensions": apq(ECHO)},
        {"query": PING, "extensions": {"persistedQuery": 1}},
        {"query": PING, "extensions": {"persistedQuery": {"version": 2, "sha256Hash": hash_of(PING)}}},
        {"query": PING, "extensions": {"persistedQuery": {"version": 1}}},
        {"query": PING, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": 7}}},
        {"query": PING, "extensions": apq("{ ping } ")},
        {"query": PING, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": ""}}},
    ],
)
async def test_what_names_no_document_or_two_is_malformed(client: Client, members: dict[str, Any]) -> None:
    assert code_of(await client.send(**members)) == (400, "BAD_USER_INPUT")


async def test_a_document_is_registered_by_its_hash_and_then_runs_by_it(house: Any, client: Client) -> None:
    key = await house.key(await house.account())
    text = '{ echo(text: "ä") }'
    unknown = await client.send(key=key, extensions=apq(text))
    assert code_of(unknown) == (400, "PERSISTED_QUERY_NOT_FOUND")
    assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotFound"
    assert code_of(await client.send(key=key, extensions=apq(text), accept=JSON))[0] == 200
    registered = await client.send(key=key, query=text, extensions=apq(text))
    assert registered.json() == {"data": {"echo": "ä"}}
    assert (await client.send(key=key, extensions=apq(text))).json() == {"data": {"echo": "ä"}}
    assert (await client.get(key=key, extensions=apq(text))).json() == {"data": {"echo": "ä"}}
    by_id = await client.send(key=key, documentId=f"sha256:{hash_of(text)}")
    assert by_id.json() == {"data": {"echo": "ä"}}


async def test_only_a_valid_key_that_may_run_a_document_registers_it(house: Any, client: Client) -> None:
    account = await house.account()
    key, weak = await house.key(account), await house.key(account, "READ_USAGE")
    echo, ping = '{ echo(text: "x") }', "{ a: ping }"
    assert (await client.send(query=ping, extensions=apq(ping))).json() == {"data": {"a": "pong"}}
    assert code_of(await client.send(query=echo, extensions=apq(echo)))[0] == 401
    assert code_of(await client.send(query=echo, extensions=apq(echo), key=weak))[0] == 403
    assert code_of(await client.send(query="{", extensions=apq("{"), key=key)) == (
        400,
        "GRAPHQL_PARSE_FAILED",
    )
    for text in (ping, echo, "{"):
        assert code_of(await client.send(extensions=apq(text), key=key))[1] == "PERSISTED_QUERY_NOT_FOUND"
    assert len(client.app._sources._registered) == 0


async def test_a_hash_may_be_that_of_a_trusted_document(house: Any, client: Client) -> None:
    key = await house.key(await house.account(), trusted_documents_only=True)
    by_hash = await client.send(key=key, extensions=apq(ECHO), variables={"text": "x"})
    assert by_hash.json() == {"data": {"echo": "x"}}
    apollo = {"persistedQuery": {"version": 1, "sha256Hash": "say"}}
    by_id = await client.send(key=key, extensions=apollo, variables={"text": "x"})
    assert by_id.json() == {"data": {"echo": "x"}}


async def test_extensions_that_nobody_here_knows_are_ignored(client: Client) -> None:
    extensions = {"clientLibrary": {"name": "@apollo/client"}, "persistedQuery": None}
    assert (await client.send(query=PING, extensions=extensions)).json() == {"data": {"ping": "pong"}}


async def test_a_key_for_trusted_documents_only_runs_no_other(
    house: Any, client: Client, seen: list[Any]
) -> None:
    account = await house.account()
    key, free = await house.key(account, trusted_documents_only=True), await house.key(account)
    ask = {"documentId": "say", "variables": {"text": "x"}}
    assert (await client.send(key=key, **ask)).json() == {"data": {"echo": "x"}}
    # The same text is the same document.
    assert (await client.send(key=key, query=ECHO, variables={"text": "x"})).json() == {"data": {"echo": "x"}}
    other = 'mutation { write(what: "untrusted") }'
    assert (await client.send(key=free, query=other, extensions=apq(other))).status_code == 200
    seen.clear()
    for untrusted in (
        {"query": other},
        {"query": other, "extensions": apq(other)},
        {"extensions": apq(other)},
        {"documentId": f"sha256:{hash_of(other)}"},
        {"query": f"{ECHO} ", "variables": {"text": "x"}},
        {"query": "{ __typename }"},
        {"query": "{ __schema { queryType { name } } }"},
    ):
        refused = await client.send(key=key, **untrusted)
        assert code_of(refused) == (403, "FORBIDDEN")
        assert "documentId" in refused.json()["errors"][0]["message"]
    assert seen == []
    assert (await client.send(key=key, documentId="x-mine:1")).json() == {"data": {"write": "x"}}
    standing = await house.engine.usage.standing(account.id)
    assert (standing.used, standing.reserved) == (4, 0)


async def test_a_restricted_key_is_made_by_graphql_and_makes_none_that_is_not(
    house: Any, client: Client
) -> None:
    scopes = ("MANAGE_KEYS", "RUN_ACTIONS")
    key = await house.key(await house.account(), *scopes, trusted_documents_only=True)
    new = {"name": "a", "scopes": ["RUN_ACTIONS"], "trustedDocumentsOnly": True}
    made = (await client.send(key=key, documentId="create", variables={"new": new})).json()["data"]
    assert made["createKey"]["apiKey"]["trustedDocumentsOnly"] is True
    new["trustedDocumentsOnly"] = False
    made = (await client.send(key=key, documentId="create", variables={"new": new})).json()["data"]
    assert made["createKey"]["apiKey"] is None


def test_registered_texts_are_bounded_in_number_and_bytes() -> None:
    registered = RegisteredDocuments(max_entries=2, max_bytes=5_000)
    for name in "abc":
        registered.register(name, f"{{ {name} }}")
        registered.register(name, f"{{ {name} }}")
    assert [registered.find(name) for name in "abc"] == [None, "{ b }", "{ c }"]
    registered.find("b")
    registered.register("d", "{ d }")
    assert [registered.find(name) for name in "bc"] == ["{ b }", None]
    registered.register("e", "x" * 6_000)
    assert (len(registered), registered.size_bytes) == (0, 0)


@pytest.mark.parametrize(
    "manifest",
    [
        {"say": ECHO, "ping": PING},
        {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [
                {"id": "say", "name": "Say", "type": "query", "body": ECHO},
                {"id": "ping", "name": "", "type": "query", "body": PING},
            ],
        },
    ],
)
def test_manifests_of_relay_codegen_and_apollo_are_read(manifest: Any, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(orjson.dumps(manifest))
    assert read_manifest(path) == {"say": ECHO, "ping": PING}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is no manifest"),
        (b'{"a": 1}', "is no manifest"),
        (b'{"format": "apollo-persisted-query-manifest", "operations": {}}', "is no manifest"),
        (b'{"format": "apollo-persisted-query-manifest", "operations": [7]}', "is no manifest"),
        (
            b'{"format": "apollo-persisted-query-manifest", "operations": [{"body": "{ping}"}]}',
            "is no manifest",
        ),
        (
            b'{"format": "apollo-persisted-query-manifest", "operations": '
            b'[{"id": "a", "body": "{ping}"}, {"id": "a", "body": "{ping}"}]}',
            "is no manifest",
        ),
        (b'{"greeting": "{"}', "'greeting' is refused (Syntax Error"),
        (b'{"greeting": "{ nothing }"}', "'greeting' is refused (Cannot query field 'nothing'"),
        (
            orjson.dumps({"big": "{ x { " + "a " * 500 + "} }"}),
            "'big' is refused (The document has more than",
        ),
        (b'{"sha256:0": "{ ping }"}', "'sha256:0' has an id that is not the SHA-256"),
        (b'{"sha512:0": "{ ping }"}', "'sha512:0' has an id with a reserved prefix"),
    ],
)
def test_a_manifest_that_is_wrong_stops_the_start_and_names_the_document(
    guarded: Any, written: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(written)
    with pytest.raises(ConfigurationError) as refused:
        load_trusted(path, Documents(guarded.core))
    assert refused.value.message.startswith("API_FACTORY_TRUSTED_DOCUMENTS: ")
    assert said in refused.value.message


def test_a_manifest_that_is_not_there_stops_the_start(guarded: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_trusted(tmp_path / "none.json", Documents(guarded.core))


def test_trusted_documents_are_never_forgotten(guarded: Any, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(orjson.dumps({"ping": PING}))
    documents = Documents(guarded.core, max_entries=1)
    trusted = load_trusted(path, documents)
    document = documents.read(PING)
    for name in "abc":
        documents.keep(documents.read(f"{{ {name}: ping }}"))
    documents.keep(document)
    assert document.is_trusted
    assert len(documents) == 1
    assert documents.read(trusted.find("ping") or "") is document
