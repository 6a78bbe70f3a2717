from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api_factory.cli.new import create_package
from api_factory.errors import AlreadyExists, BadUserInput

ROOT = Path(__file__).resolve().parents[2]


def run_in(directory: Path, *arguments: str) -> str:
    """Run Python in a folder as its author would, with the server's packages importable."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=directory, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_new_package_has_every_file_and_no_blank_left_open(tmp_path: Path) -> None:
    written = create_package("word_tools", tmp_path / "word_tools")

    assert [path.relative_to(tmp_path / "word_tools").as_posix() for path in written] == [
        "pyproject.toml",
        "README.md",
        ".gitignore",
        "word_tools.py",
        "tests/test_word_tools.py",
    ]
    for path in written:
        assert "$name" not in path.read_text()
        assert "$distribution" not in path.read_text()
    assert 'name = "word-tools"' in written[0].read_text()
    assert '"Authorization: Bearer $KEY"' in written[1].read_text()


def test_a_new_package_passes_its_own_tests(tmp_path: Path) -> None:
    create_package("word_tools", tmp_path / "here")

    assert "3 passed" in run_in(tmp_path / "here", "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_a_new_package_is_loaded_by_name_in_its_folder(tmp_path: Path) -> None:
    create_package("word_tools", tmp_path)
    script = (
        "from api_factory.actions import Catalogue\n"
        "for each in Catalogue.load(['word_tools'], entry_points=False): print(each.signature, each.units)"
    )

    assert run_in(tmp_path, "-P", "-c", script).splitlines() == [
        "ping() -> str 0",
        "echo(text: str) -> str 1",
        "slugify(text: str, separator: str = '-') -> str 1",
        "count_words(text: str, limit: int = 10) -> list[WordCount] 2",
    ]


def test_an_empty_folder_may_be_there_already(tmp_path: Path) -> None:
    assert len(create_package("word_tools", tmp_path)) == 5


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Word-Tools", "'Word-Tools' cannot be the name of a package; write it like word_tools."),
        ("../up", "'../up' cannot be the name of a package; write it like word_tools."),
        ("", "'' cannot be the name of a package; write it like word_tools."),
        ("a" * 65, f"'{'a' * 65}' cannot be the name of a package; write it like word_tools."),
        ("class", "class is a word of Python itself; choose another, like class_actions."),
        ("json", "json is a module of Python itself; choose another, like json_actions."),
        ("api", "api is a module of the server itself; choose another, like api_actions."),
        ("schema", "schema is a module of the server itself; choose another, like schema_actions."),
        ("admin", "admin is a module of the server itself; choose another, like admin_actions."),
        ("tests", "tests is a module of the server itself; choose another, like tests_actions."),
        ("limits", "limits is the name of an installed module; choose another, like my_limits."),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, sentence: str
) -> None:
    with pytest.raises(BadUserInput) as refusal:
        create_package(name, tmp_path / "new")

    assert refusal.value.message == sentence
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(AlreadyExists) as refusal:
        create_package("word_tools", tmp_path)

    assert refusal.value.message == f"The folder {tmp_path} is not empty; choose another name or empty it."
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "word_tools").write_text("mine")

    with pytest.raises(AlreadyExists, match=r"word_tools is a file; choose another name or move it away\."):
        create_package("word_tools", tmp_path / "word_tools")

    assert (tmp_path / "word_tools").read_text() == "mine"
