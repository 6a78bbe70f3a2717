from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_factory import ActionError, Caller
from api_factory.actions import Catalogue

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "text_actions"
CALLER = Caller("acc_1", "key_1", "tests", frozenset({"RUN_ACTIONS"}), False, "req_1", {})


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Catalogue]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        yield Catalogue.load(["text_actions"], entry_points=False)


def test_the_catalogue_offers_every_action_at_its_price(catalogue: Catalogue) -> None:
    assert {each.name: (each.kind, each.units, each.charge, each.scope) for each in catalogue} == {
        "ping": ("query", 0, "free", "RUN_ACTIONS"),
        "echo": ("query", 1, "on_success", "RUN_ACTIONS"),
        "compare_texts": ("query", 2, "on_success", "RUN_ACTIONS"),
        "document": ("query", 1, "on_success", "RUN_ACTIONS"),
        "extract_keywords": ("query", 2, "on_success", "RUN_ACTIONS"),
        "readability": ("query", 1, "on_success", "RUN_ACTIONS"),
        "redact": ("query", 2, "on_success", "REDACT"),
        "remember_document": ("mutation", 3, "reserve", "RUN_ACTIONS"),
        "summarize": ("query", 5, "on_success", "RUN_ACTIONS"),
        "text_statistics": ("query", 1, "on_success", "RUN_ACTIONS"),
    }


def test_every_action_and_argument_has_its_help(catalogue: Catalogue) -> None:
    for each in catalogue:
        assert each.description, each.name
        for parameter in each.parameters:
            assert parameter.description, (each.name, parameter.name)


def test_the_caller_is_no_argument_of_the_api(catalogue: Catalogue) -> None:
    remember = catalogue.get("remember_document")

    assert remember is not None
    assert remember.caller_parameter == "caller"
    assert [parameter.name for parameter in remember.parameters] == ["text", "title"]


async def test_a_document_goes_in_and_comes_out_for_its_account(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_FACTORY_DATA_DIR", str(tmp_path))
    remember, read = catalogue.get("remember_document"), catalogue.get("document")
    assert remember is not None
    assert read is not None

    receipt = await remember.invoke({"text": "Two words"}, CALLER)
    document = await read.invoke({"id": receipt.id}, CALLER)

    assert isinstance(receipt.id, UUID)
    assert (document.title, document.text) == ("Untitled", "Two words")


@given(text=st.text())
@settings(deadline=None)
@pytest.mark.parametrize(
    "name", ["compare_texts", "extract_keywords", "readability", "redact", "summarize", "text_statistics"]
)
async def test_any_text_is_answered_or_refused_with_a_code(
    catalogue: Catalogue, name: str, text: str
) -> None:
    found = catalogue.get(name)
    assert found is not None
    arguments = {parameter.name: text for parameter in found.parameters if parameter.is_required}

    try:
        await found.invoke(arguments, CALLER)
    except ActionError as error:
        assert error.code == "TEXT_EMPTY"  # noqa: PT017 - both ends are right, this one with this code


def test_the_packages_own_tests_pass_without_a_server() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ended = subprocess.run(command, cwd=EXAMPLE, env=environment, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stdout + ended.stderr
