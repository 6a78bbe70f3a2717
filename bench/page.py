"""Puts a run's figures into the page about performance: `python3 dev.py run python -m bench.page [FILE]`.

Without a file it takes the newest whole run of bench/results. Only what stands between a block's marks is
replaced, the picture, and the tables beside the file; the sentences around them are for people to write.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import plot, report
from bench.environments import ROOT
from bench.failure import BenchFailed
from bench.results import Results, load, newest

PAGE: Final = ROOT / "docs" / "explanation" / "performance.md"
PICTURE: Final = PAGE.with_suffix(".svg")
KEPT: Final = ROOT / "bench" / "results"

_MARK: Final = re.compile(r"(<!-- figures: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_TABLES: Final = ("call", "commit", "list", "keys", "workers")


def blocks(results: Results) -> Mapping[str, str]:
    """Return the text of each block by its name."""
    tables = {name: results.table(name) for name in _TABLES}
    return {
        "run": _run(results),
        "goals": report.goals(results),
        "machine": report.facts({**results.machine, **results.versions}),
        **{
            name: "Not measured in this run." if table is None else report.suite(table)
            for name, table in tables.items()
        },
    }


def refreshed(page: str, results: Results) -> str:
    """Return the page with every block replaced. Raises `BenchFailed` for a block that nothing fills."""
    found = blocks(results)

    def fill(mark: re.Match[str]) -> str:
        name = mark[2]
        if name not in found:
            raise BenchFailed(f"The page has a block {name!r}; there are: {', '.join(found)}.")
        return f"{mark[1]}\n{found[name]}\n\n{mark[4]}"

    return _MARK.sub(fill, page)


def picture(results: Results) -> str:
    """Return the picture of the calls. Raises `BenchFailed` when they were not measured."""
    table = results.table("call")
    if table is None:
        raise BenchFailed("The run has no calls to draw; measure them too.")
    return plot.svg(table)


def main() -> int:
    """Write the page and its picture; 1 when there is nothing to write."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="the JSON of a run")
    options = parser.parse_args()
    try:
        file = options.file or newest(KEPT)
        results = load(file.read_text())
        drawn, page = picture(results), refreshed(PAGE.read_text(), results)
    except BenchFailed as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    file.with_suffix(".md").write_text(report.markdown(results))
    PICTURE.write_text(drawn)
    PAGE.write_text(page)
    print(f"{PAGE.relative_to(ROOT)} shows {results.revision} of {results.taken_at[:10]}", file=sys.stderr)
    return 0


def _run(results: Results) -> str:
    kind = " It was a quick run, to show the page; read no figure in it." if results.is_quick else ""
    return f"Revision `{results.revision}`, {results.taken_at[:10]}.{kind} {report.summary(results)}"


if __name__ == "__main__":
    sys.exit(main())
