"""The quickstarts do what their pages say, against a server that answers."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.conftest import QUICKSTARTS, ROOT, Server, run

ROOMY, NARROW = "100000/second", "1/2second"
RATES = pytest.mark.parametrize("rate", [ROOMY, NARROW], ids=["at once", "after waiting"])


@RATES
def test_the_python_quickstart_pays_reads_its_quota_and_is_refused_without_a_key(
    server: Server, tmp_path: Path, rate: str
) -> None:
    given = {**server.environment, "API_URL": server.url, "API_KEY": server.key(rate=rate)}
    assert run([sys.executable, str(QUICKSTARTS / "python" / "quickstart.py")], tmp_path, given) == (
        "Hello from Python\n1 of 1000000000 units used\nRefused without a key: UNAUTHENTICATED\n"
    )


@RATES
def test_the_typescript_quickstart_pays_reads_its_quota_and_is_refused_without_a_key(
    server: Server, typescript: Path, node_environment: Mapping[str, str], rate: str
) -> None:
    given = {**node_environment, "API_URL": server.url, "API_KEY": server.key(rate=rate)}
    npm = ["node", node_environment["NPM_CLI"], "run", "--silent"]
    assert run([*npm, "start"], typescript, given) == (
        "Hello from TypeScript\n1 of 1000000000 units used\nRefused without a key: UNAUTHENTICATED\n"
    )


def test_codegen_types_arguments_results_and_nulls(typescript: Path) -> None:
    made = (typescript / "src" / "gql" / "graphql.ts").read_text()
    assert "export type EchoQuery = { echo: string | null };" in made
    assert "quota: { used: number, included: number | null }" in made
    arguments = re.search(r"export type EchoQueryVariables = Exact<\{\s*text: string;\s*\}>;", made)
    assert arguments is not None


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("call-from-python.md", "python/quickstart.py"),
        ("call-from-typescript.md", "typescript/codegen.ts"),
        ("call-from-typescript.md", "typescript/src/main.ts"),
    ],
)
def test_the_page_shows_the_program_that_is_run(page: str, name: str) -> None:
    shown = re.findall(
        r"```(?:python|ts)\n(.*?)```", (ROOT / "docs" / "how-to" / page).read_text(), re.DOTALL
    )
    assert (QUICKSTARTS / name).read_text() in shown
