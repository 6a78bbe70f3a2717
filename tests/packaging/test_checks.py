"""The checks of our own find what they are there for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from checks import house, links


def breaches(code: str, name: str = "api_factory/keys/service.py") -> list[str]:
    return [*house._in_code(Path(name), ast.parse(code)), *house._in_text(Path(name), code)]


def long_function(lines: int) -> str:
    return "def act() -> None:\n" + "    pass\n" * (lines - 1)


def test_a_function_of_fifty_lines_is_kept_and_one_of_fifty_one_is_not() -> None:
    assert breaches(long_function(50)) == []
    assert breaches(long_function(51)) == ["api_factory/keys/service.py:1 act has 51 lines, over 50"]


@pytest.mark.parametrize("name", ["KeyManager", "key_utils", "load_data", "process_keys", "HelperForKeys"])
def test_a_name_that_says_nothing_is_found(name: str) -> None:
    assert len(breaches(f"def {name}(): ...")) == 1


@pytest.mark.parametrize("name", ["metadata", "mark_process_dead", "rotate", "database_dsn"])
def test_a_name_that_says_something_is_kept(name: str) -> None:
    assert breaches(f"def {name}(): ...") == []


def test_a_file_named_after_nothing_is_found() -> None:
    assert breaches("", "api_factory/keys/utils.py") == [
        "api_factory/keys/utils.py says nothing with 'utils'"
    ]


@pytest.mark.parametrize("text", ["/ro" + "ot/x", "see py" + "pi.org", "# TO" + "DO later"])
def test_what_must_not_be_committed_is_found(text: str) -> None:
    assert len(breaches(f'"""{text}"""')) == 1


@pytest.mark.parametrize(
    "target", ["page.md", "page.md#a-heading", "#here-too", "https://example.com", "page.md#a-heading-1"]
)
def test_a_link_that_leads_somewhere_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    assert dead(tmp_path, monkeypatch, target) == []


@pytest.mark.parametrize("target", ["gone.md", "page.md#gone", "#gone", "page.md#a-heading-2"])
def test_a_link_that_leads_nowhere_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    assert dead(tmp_path, monkeypatch, target) == [f"start.md -> {target}"]


def dead(directory: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> list[str]:
    (directory / "page.md").write_text("# A heading\n```\n# no heading\n```\n## A heading\n")
    start = directory / "start.md"
    start.write_text(f"# Here, too\nSee [the page]({target}), not `[code](gone)`.\n")
    monkeypatch.setattr(links, "ROOT", directory)
    monkeypatch.setattr(links, "committed", lambda _suffix: [start])
    return list(links.dead_links())
