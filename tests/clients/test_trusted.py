"""Manifests that Relay and graphql-codegen write: a server that has them runs their documents by id."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.clients.conftest import Node, Server, compile_with_relay, run, serving

BY_ID = {"method": "POST", "document": False, "status": 200}


@pytest.fixture(scope="module")
def compiled(
    node: Node, node_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What relay-compiler made with a manifest, which is beside it as `persisted.json`."""
    folder = tmp_path_factory.mktemp("relay")
    (folder / "persisted.json").write_text("{}")
    return compile_with_relay(folder, node_environment, persistConfig={"file": "./persisted.json"})


@pytest.fixture(scope="module")
def codegen_manifest(
    server: Server,
    typescript: Path,
    node_environment: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The manifest that codegen writes for the quickstart when it is told to."""
    folder = tmp_path_factory.mktemp("codegen") / "typescript"
    shutil.copytree(typescript, folder, symlinks=True)
    config = folder / "codegen.ts"
    option = "fragmentMasking: false"
    config.write_text(config.read_text().replace(option, f"{option}, persistedDocuments: true"))
    generate = ["node", node_environment["NPM_CLI"], "run", "--silent", "generate"]
    run(generate, folder, {**node_environment, "API_URL": server.url})
    manifest: dict[str, str] = json.loads((folder / "src" / "gql" / "persisted-documents.json").read_text())
    return manifest


@pytest.fixture(scope="module")
def trusting(
    compiled: Path, codegen_manifest: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that trusts the documents of both."""
    manifest = tmp_path_factory.mktemp("manifest") / "persisted.json"
    of_relay = json.loads((compiled.parent / "persisted.json").read_text())
    manifest.write_text(json.dumps({**of_relay, **codegen_manifest}))
    with serving(API_FACTORY_TRUSTED_DOCUMENTS=str(manifest)) as started:
        yield started


@pytest.fixture(scope="module")
def restricted_key(trusting: Server) -> str:
    """A key for trusted documents only."""
    return trusting.key("--trusted-documents-only")


def test_relay_runs_its_documents_by_id_with_a_key_that_may_run_no_others(
    node: Node, compiled: Path, trusting: Server, restricted_key: str
) -> None:
    found = node("relay.mjs", str(compiled), key=restricted_key, at=trusting)
    assert found["requests"] == [BY_ID] * 3
    assert {"ApiKey", "Viewer"} <= set(found["types"])


def test_a_server_without_the_manifest_knows_none_of_the_ids(node: Node, key: str, compiled: Path) -> None:
    found = node("relay.mjs", str(compiled), key=key)
    assert [error["code"] for error in found["errors"]] == ["PERSISTED_QUERY_NOT_FOUND"]


def test_documents_of_codegen_run_by_their_hash(
    trusting: Server, restricted_key: str, codegen_manifest: dict[str, str]
) -> None:
    (echo,) = (name for name, text in codegen_manifest.items() if "query Echo(" in text)
    reply = httpx.post(
        trusting.graphql,
        json={"documentId": echo, "variables": {"text": "by its hash"}},
        headers={"Authorization": f"Bearer {restricted_key}", "Accept": "application/graphql-response+json"},
    )
    assert (reply.status_code, reply.json()) == (200, {"data": {"echo": "by its hash"}})


@pytest.mark.parametrize("client", ["apollo", "urql"])
def test_a_key_for_trusted_documents_is_refused_for_a_text_of_its_own(
    node: Node, trusting: Server, restricted_key: str, client: str
) -> None:
    found = node(f"{client}.mjs", "mutation", key=restricted_key, at=trusting)
    assert [error["code"] for error in found["errors"]] == ["FORBIDDEN"]
    assert [request["status"] for request in found["requests"]] == [403]
