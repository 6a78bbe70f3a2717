"""Apollo Client, urql and Relay: answers, refusals with their code and status, retries that are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Node, Server, compile_with_relay

APOLLO_AND_URQL = pytest.mark.parametrize("client", ["apollo", "urql"])
POSTED = {"method": "POST", "document": True}


@APOLLO_AND_URQL
def test_a_query_with_a_key_is_answered(node: Node, key: str, client: str) -> None:
    found = node(f"{client}.mjs", "query", key=key)
    text = {"apollo": "from Apollo", "urql": "from urql"}[client]
    assert found == {"data": {"echo": text}, "requests": [{**POSTED, "status": 200}]}


def test_urql_may_send_a_query_by_get(node: Node, key: str) -> None:
    found = node("urql.mjs", "query", "get", key=key)
    request = {"method": "GET", "document": True, "status": 200}
    assert found == {"data": {"echo": "from urql"}, "requests": [request]}


@APOLLO_AND_URQL
def test_a_query_without_a_key_is_refused_with_code_and_status(node: Node, client: str) -> None:
    found = node(f"{client}.mjs", "query")
    (error,) = found["errors"]
    assert error["code"] == "UNAUTHENTICATED"
    assert found["requests"] == [{**POSTED, "status": 401}]


@APOLLO_AND_URQL
def test_a_mutation_is_answered_once(node: Node, key: str, client: str) -> None:
    found = node(f"{client}.mjs", "mutation", key=key)
    name = {"apollo": "from Apollo", "urql": "from urql"}[client]
    assert found["data"]["createKey"]["apiKey"]["name"] == name
    assert found["data"]["createKey"]["userErrors"] == []
    assert found["requests"] == [{**POSTED, "status": 200}]


@pytest.fixture(scope="module")
def running_key(server: Server) -> str:
    return server.key(scopes=("RUN_ACTIONS",))


@APOLLO_AND_URQL
def test_a_key_without_the_scope_is_refused_with_code_and_status(
    node: Node, running_key: str, client: str
) -> None:
    found = node(f"{client}.mjs", "mutation", key=running_key)
    (error,) = found["errors"]
    assert (error["code"], error["requiredScopes"]) == ("FORBIDDEN", ["MANAGE_KEYS"])
    assert found["requests"] == [{**POSTED, "status": 403}]


@APOLLO_AND_URQL
def test_a_client_that_waits_as_long_as_it_is_told_is_answered(
    server: Server, node: Node, client: str
) -> None:
    found = node(f"{client}.mjs", "retry", key=server.key(rate="1/3second"))
    statuses = [request["status"] for request in found["requests"]]
    assert found["data"] == {"echo": "at last"}
    assert set(statuses) == {200, 429}
    # Whoever comes back when told to is let in: no refusal follows another.
    assert all(after == 200 for before, after in pairwise(statuses) if before == 429)


@pytest.fixture(scope="module")
def compiled(
    node: Node, node_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return compile_with_relay(tmp_path_factory.mktemp("relay"), node_environment)


def test_relay_compiles_refetchable_fragments_and_connections_of_the_schema(compiled: Path) -> None:
    assert sorted(path.name for path in compiled.iterdir()) == [
        "queriesKeys.graphql.js",
        "queriesKeysPageQuery.graphql.js",
        "queriesKeysQuery.graphql.js",
        "queriesViewer.graphql.js",
        "queriesViewerQuery.graphql.js",
    ]


def test_relay_runs_what_it_compiled_and_keeps_it_by_id(node: Node, key: str, compiled: Path) -> None:
    found = node("relay.mjs", str(compiled), key=key)
    expected: dict[str, Any] = {**POSTED, "status": 200}
    assert found["requests"] == [expected] * 3
    assert {"ApiKey", "ApiKeyConnection", "ApiKeyEdge", "PageInfo", "Viewer"} <= set(found["types"])


def test_relay_is_refused_with_code_and_status(node: Node, compiled: Path) -> None:
    found = node("relay.mjs", str(compiled))
    assert [error["code"] for error in found["errors"]] == ["UNAUTHENTICATED"]
    assert found["requests"] == [{**POSTED, "status": 401}]
