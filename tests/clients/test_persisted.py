"""Automatic persisted queries as Apollo's link and urql's exchange do them: the hash first, then the text."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Node

CLIENTS = pytest.mark.parametrize("client", ["apollo", "urql"])


@CLIENTS
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_hash_is_unknown_until_its_text_came_and_known_to_every_client_after(
    node: Node, key: str, client: str, method: str
) -> None:
    found = node(f"{client}.mjs", "persisted", method.lower(), key=key)
    # A text that is short enough for an address goes by GET too where urql was told to prefer it.
    registering = method if client == "urql" else "POST"
    assert found["requests"] == [
        {"method": method, "document": False, "status": 400},
        {"method": registering, "document": True, "status": 200},
        {"method": method, "document": False, "status": 200},
    ]
    assert found["data"] == {"echo": "again"}


@CLIENTS
def test_nothing_is_registered_for_a_caller_without_a_key(node: Node, client: str) -> None:
    found = node(f"{client}.mjs", "persisted", "post")
    assert [error["code"] for error in found["errors"]] == ["UNAUTHENTICATED"]
    assert [(request["document"], request["status"]) for request in found["requests"]] == [
        (False, 400),
        (True, 401),
    ] * 2
