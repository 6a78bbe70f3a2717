"""The page about performance shows a run as it was, and its words stay."""

from __future__ import annotations

import pytest

from bench import page, report
from bench.failure import BenchFailed
from bench.results import load, newest
from tests.bench.making import calls, results, row

WRITTEN = "# Title\n\nWords.\n\n<!-- figures: call -->\nold\n<!-- end -->\n\nMore words.\n"


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    shown = page.refreshed(WRITTEN, calls(row("bare", 1000, title="Bare ASGI")))
    head, _, rest = shown.partition("<!-- figures: call -->\n")
    block, _, tail = rest.partition("<!-- end -->")
    assert head == "# Title\n\nWords.\n\n"
    assert tail == "\n\nMore words.\n"
    assert "| Bare ASGI | 1,000 (1,000 to 1,000) |" in block
    assert "old" not in shown


def test_a_second_time_changes_nothing() -> None:
    run = calls(row("bare", 1000))
    shown = page.refreshed(WRITTEN, run)
    assert page.refreshed(shown, run) == shown


def test_a_table_that_was_not_measured_is_said_to_be_missing() -> None:
    assert "Not measured in this run." in page.refreshed(WRITTEN, results())


def test_a_block_that_nothing_fills_is_refused() -> None:
    with pytest.raises(BenchFailed, match="'speed'"):
        page.refreshed(WRITTEN.replace("figures: call", "figures: speed"), results())


def test_the_page_its_picture_and_its_tables_are_those_of_the_newest_run() -> None:
    file = newest(page.KEPT)
    run = load(file.read_text())
    written = page.PAGE.read_text()
    assert file.with_suffix(".md").read_text() == report.markdown(run)
    assert page.refreshed(written, run) == written, "run `python3 dev.py run python -m bench.page`"
    assert page.PICTURE.read_text() == page.picture(run)


def test_the_page_has_every_block() -> None:
    written = page.PAGE.read_text()
    assert [name for name in page.blocks(results()) if f"<!-- figures: {name} -->" not in written] == []
