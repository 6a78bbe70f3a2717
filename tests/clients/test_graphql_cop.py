"""What graphql-cop, the security auditor, asks of a server: none of its checks finds anything anonymously.

The tool is no package that could be pinned, so each of its checks is here under its own name: the request
that it sends, and what it takes for a finding. It leaves `field_duplication` out unless it is told to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Server

EVIDENCE_OF_AN_IDE = ("graphiql.min.css", "GraphQL Playground", "GraphiQL", "graphql-playground")


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, headers={"accept": "*/*"}) as client:
        yield client


async def ask(http: httpx.AsyncClient, document: str) -> Any:
    return (await http.post("/graphql", json={"query": document})).json()


async def test_the_auditor_sees_a_graphql_server(http: httpx.AsyncClient) -> None:
    assert await ask(http, "query { __typename }") == {"data": {"__typename": "Query"}}


async def test_alias_overloading(http: httpx.AsyncClient) -> None:
    aliases = " ".join(f"alias{number}:__typename" for number in range(101))
    answer = await ask(http, f"query cop {{ {aliases} }}")
    assert "data" not in answer
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["QUERY_TOO_COMPLEX"]


async def test_batch_query(http: httpx.AsyncClient) -> None:
    reply = await http.post("/graphql", json=[{"query": "query cop { __typename }"}] * 11)
    assert reply.status_code == 400
    assert list(reply.json()) == ["errors"]


async def test_directive_overloading(http: httpx.AsyncClient) -> None:
    answer = await ask(http, f"query cop {{ __typename {'@aa' * 10} }}")
    assert "data" not in answer
    # One error for each directive, ten, is the finding.
    assert len(answer["errors"]) <= 5


async def test_field_duplication(http: httpx.AsyncClient) -> None:
    answer = await ask(http, f"query cop {{ {'__typename ' * 500} }}")
    assert "data" not in answer
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["QUERY_TOO_COMPLEX"]


async def test_circular_query_introspection(http: httpx.AsyncClient) -> None:
    circle = "fields { type { " * 4 + "name" + " } }" * 4
    answer = await ask(http, f"query cop {{ __schema {{ types {{ {circle} }} }} }}")
    assert "data" not in answer


async def test_circular_fragment(http: httpx.AsyncClient) -> None:
    fragments = "fragment A on __Schema { __typename ...B } fragment B on __Schema { ...A }"
    answer = await ask(http, f"query {{ __schema {{ ...A }} }} {fragments}")
    assert "data" not in answer
    assert answer["errors"]


async def test_introspection(http: httpx.AsyncClient) -> None:
    answer = await ask(http, "query cop { __schema { types { name fields { name } } } }")
    assert "data" not in answer
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["UNAUTHENTICATED"]


async def test_field_suggestions(http: httpx.AsyncClient) -> None:
    for misspelt in (
        "query cop { __schema { directive } }",
        "query cop { pin }",
        "query cop { echo(tex: 1) }",
    ):
        answer = await ask(http, misspelt)
        assert "data" not in answer
        assert "did you mean" not in str(answer).lower()


@pytest.mark.parametrize("path", ["/graphiql", "/playground", "/console", "/graphql"])
async def test_detect_graphiql(http: httpx.AsyncClient, path: str) -> None:
    # In development a browser, which asks for HTML, does get GraphiQL; in production nobody does.
    reply = await http.get(path)
    assert not any(word in reply.text for word in EVIDENCE_OF_AN_IDE)


async def test_get_method_support(http: httpx.AsyncClient) -> None:
    reply = await http.get("/graphql", params={"query": "query cop { __typename }"})
    assert reply.status_code == 406
    assert list(reply.json()) == ["errors"]


async def test_get_based_mutation(http: httpx.AsyncClient) -> None:
    reply = await http.get("/graphql", params={"query": "mutation cop { __typename }"})
    assert list(reply.json()) == ["errors"]
    asking_for_json = {"accept": "application/json"}
    reply = await http.get(
        "/graphql", params={"query": "mutation cop { __typename }"}, headers=asking_for_json
    )
    assert reply.status_code == 405
    assert list(reply.json()) == ["errors"]


async def test_post_based_csrf(http: httpx.AsyncClient) -> None:
    for form in ({"data": {"query": "query cop { __typename }"}}, {"params": {"query": "{ __typename }"}}):
        reply = await http.post("/graphql", **form)  # type: ignore[arg-type]
        assert reply.status_code == 415
        assert list(reply.json()) == ["errors"]


async def test_trace_mode(http: httpx.AsyncClient) -> None:
    for document in ("query cop { __typename }", "query cop { echo }"):
        answer = await ask(http, document)
        assert "extensions" not in answer
        assert not any("tracing" in error["extensions"] for error in answer.get("errors", ()))
        assert "stacktrace" not in str(answer).lower()


async def test_unhandled_error_detection(http: httpx.AsyncClient) -> None:
    answer = await ask(http, "qwerty cop { abc }")
    (error,) = answer["errors"]
    assert error["extensions"] == {"code": "GRAPHQL_PARSE_FAILED"}
