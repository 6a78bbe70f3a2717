"""What is written is true: the reference is the code's, links lead somewhere, tests that are named exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from api_factory.cli import command
from api_factory.errors import ApiFactoryError
from api_factory.settings import Settings
from checks import pages, readme, reference
from checks.links import dead_links

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / "docs" / "reference").iterdir()}


def test_the_reference_is_as_the_code_has_it() -> None:
    assert list(reference.outdated(pages.pages())) == []


def test_a_page_that_differs_is_missing_or_is_too_many_is_named(tmp_path: Path) -> None:
    reference.write({"a.md": "1", "b.md": "2"}, tmp_path)
    (tmp_path / "a.md").write_text("0")
    (tmp_path / "old.md").write_text("")
    assert list(reference.outdated({"a.md": "1", "b.md": "2", "c.md": "3"}, tmp_path)) == [
        "a.md",
        "c.md",
        "old.md",
    ]
    reference.write({"a.md": "1"}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]


def test_every_setting_is_in_the_reference(written: dict[str, str]) -> None:
    for name, field in Settings.model_fields.items():
        variable = field.validation_alias or f"API_FACTORY_{name.upper()}"
        assert f"| `{variable}` |" in written["settings.md"]
        assert field.description
        assert field.description in written["settings.md"]


def test_every_error_code_is_in_the_reference(written: dict[str, str]) -> None:
    for kind in _refusals(ApiFactoryError):
        assert f"| `{kind.code}` | {kind.status} | `{kind.__name__}` |" in written["errors.md"]


def test_every_metric_of_a_scrape_is_in_the_reference(written: dict[str, str]) -> None:
    names = re.findall(r"^# TYPE (\S+) ", pages._one_of_each(), re.MULTILINE)
    assert len(names) == written["metrics.md"].count("| `api_factory_")
    for name in names:
        assert f"| `{name}` |" in written["metrics.md"]


def test_every_command_and_option_is_in_the_reference(written: dict[str, str]) -> None:
    for path, found in _commands(command, "api-factory"):
        section = written["cli.md"].partition(f"\n## {path}\n")[2].partition("\n## ")[0]
        assert section, path
        for option in found.params:
            if isinstance(option, click.Option):
                assert option.opts[0] in section, (path, option.opts)
        assert CliRunner().invoke(command, [*path.split()[1:], "--help"]).exit_code == 0


def test_every_relative_link_leads_somewhere() -> None:
    assert list(dead_links()) == []


def test_every_test_that_a_document_names_exists() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"def (test_\w+)\(", tests))
    named = {
        (path.name, name) for path in DOCUMENTS for name in re.findall(r"`(test_\w+)`", path.read_text())
    }
    assert named
    assert [each for each in sorted(named) if each[1] not in known] == []


def test_every_file_and_folder_of_tests_that_a_document_names_exists() -> None:
    theirs = {"tests/test_word_tools.py"}  # of the tutorial's package
    named = {
        (path.name, name)
        for path in DOCUMENTS
        for name in re.findall(r"\btests/\w+(?:/\w+)*(?:\.py)?\b", path.read_text())
        if name not in theirs
    }
    assert len(named) > 20
    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []


def test_the_action_in_the_readme_is_that_of_the_example_package() -> None:
    shown = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    source = (ROOT / "examples/text_actions/text_actions/keywords.py").read_text()
    assert [line for line in shown[1].splitlines() if line not in source.splitlines()] == []


def test_the_readme_is_no_longer_than_a_hundred_and_twenty_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_a_decision_has_its_four_parts_and_is_in_the_list() -> None:
    decisions = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    index = (ROOT / "docs/adr/README.md").read_text()
    for number, path in enumerate(decisions, start=1):
        text = path.read_text()
        assert path.name.startswith(f"{number:04d}-")
        assert f"({path.name})" in index
        assert re.search(
            r"^# \d{4}\. .*^Status: .*^## Context$.*^## Decision$.*^## Consequences$",
            text,
            re.DOTALL | re.MULTILINE,
        )


def test_marked_blocks_are_found_with_their_lines() -> None:
    page = (
        "a\n\n```console run\n$ one \\\n  more\nout\n$ two\n```\n\n"
        "```console\n$ not\n```\n\n```python file=a.py\nx\n```\n"
    )
    found = readme.blocks(page)
    assert [(block.kind, block.line) for block in found] == [("run", 3), ("file=a.py", 14)]
    assert readme.commands(found[0].text) == [
        readme.Command("one \\\n  more", "out"),
        readme.Command("two", ""),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "is_same"),
    [
        ('{"a": 1}', '{"a":1}\n', True),
        ('{"a": …}', '{"a": {"b": 2}}', True),
        ("{…}", '{"a": 1}', True),
        ('{"a": 1}', '{"a": 2}', False),
        ('{"a": 1}', '{"a": 1} more', False),
        ("used 3.0", "used 3x0", False),
    ],
)
def test_an_output_is_compared_but_for_white_space_and_what_is_left_open(
    expected: str, printed: str, is_same: bool
) -> None:
    assert readme.is_as_written(expected, printed) is is_same


def test_a_page_that_lies_fails_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```console run\n$ export WORD=kept\n$ echo $WORD\nlost\n```\n")
    with pytest.raises(
        readme.Failure, match=r"page\.md:1: echo \$WORD\nshould print\nlost\nand printed\nkept"
    ):
        readme.run(tmp_path / "page.md", tmp_path)
    (tmp_path / "page.md").write_text("```console run\n$ false\n```\n")
    with pytest.raises(readme.Failure, match="ended with 1"):
        readme.run(tmp_path / "page.md", tmp_path)
    (tmp_path / "page.md").write_text("Nothing.")
    with pytest.raises(readme.Failure, match="holds no command to run"):
        readme.run(tmp_path / "page.md", tmp_path)


def test_commands_share_their_folder_and_what_they_export(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "```console run\n$ mkdir 'in side' && cd 'in side'\n$ export WORD='two words'\n```\n"
        "```python file=say.py\nimport os\nprint(os.environ['WORD'])\n```\n"
        "```console run\n$ python say.py\ntwo words\n```\n"
    )
    readme.run(tmp_path / "page.md", tmp_path)
    assert not (tmp_path / "in side").exists()


def _refusals(kind: type[ApiFactoryError]) -> Iterator[type[ApiFactoryError]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("api_factory."):
            yield each
        yield from _refusals(each)


def _commands(found: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, found
    if isinstance(found, click.Group):
        context = click.Context(found)
        for name in found.list_commands(context):
            child = found.get_command(context, name)
            assert child is not None
            yield from _commands(child, f"{path} {name}")
