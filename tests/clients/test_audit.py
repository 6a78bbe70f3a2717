"""The audit of the GraphQL-over-HTTP specification, npm's graphql-http: every one of its checks, by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.conftest import Node

AUDITS: Final[dict[str, str]] = json.loads((Path(__file__).parent / "audits.json").read_text())
"""Every audit by its id. A version of the suite that has others makes a test fail, until they are read."""

BY_CHOICE: Final = {
    # A GET that names no GraphQL media type may come from an image or a link of any web page.
    "5A70": ("notice", "Response status code is not 200")
}


@pytest.fixture(scope="module")
def results(node: Node) -> dict[str, Any]:
    return {each["id"]: each for each in node("audit.mjs")}


def test_the_suite_has_the_audits_that_are_listed_here(results: dict[str, Any]) -> None:
    assert len(AUDITS) == 61
    assert {each["id"]: each["name"] for each in results.values()} == AUDITS


def test_sixty_audits_are_ok_and_none_warns_or_fails(results: dict[str, Any]) -> None:
    found = {each["id"]: (each["status"], each.get("reason")) for each in results.values()}
    assert {name: found[name] for name in found if found[name][0] != "ok"} == BY_CHOICE
    assert sum(status == "ok" for status, _ in found.values()) == 60


@pytest.mark.parametrize("audit", [name for name in AUDITS if name not in BY_CHOICE])
def test_an_audit_is_ok(results: dict[str, Any], audit: str) -> None:
    assert results[audit] == {"id": audit, "name": AUDITS[audit], "status": "ok"}
