"""What a run found out, and its file: JSON with every round, from which tables and pictures are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.failure import BenchFailed
from bench.figures import Sample, Spread, cpu, paired, spread, throughput

FORMAT: Final = 1
"""The version of the file; one of another version is refused."""


@dataclass(frozen=True, slots=True)
class Row:
    """One contender of a suite with its samples, one a round."""

    name: str
    title: str
    samples: tuple[Sample, ...]

    @property
    def requests_per_second(self) -> Spread:
        """Good answers a second."""
        return spread([each.requests_per_second for each in self.samples])

    @property
    def p50_us(self) -> float:
        """The median latency, median of the rounds."""
        return spread([each.p50_us for each in self.samples]).median

    @property
    def p99_us(self) -> float:
        """The latency that one of a hundred exceeds, median of the rounds."""
        return spread([each.p99_us for each in self.samples]).median

    @property
    def cpu_us(self) -> Spread:
        """CPU microseconds of the server a request."""
        return spread([each.cpu_us for each in self.samples])

    @property
    def core_share(self) -> float:
        """How much of its cores the server used; well below 1, something else was the limit."""
        return spread([each.core_share for each in self.samples]).median

    @property
    def is_clean(self) -> bool:
        """Tell whether every request was answered well and in time."""
        return not any(each.refused or each.broken or each.late for each in self.samples)

    def ratio_to(self, other: Row) -> Spread | None:
        """Return throughput over that of another contender, paired by round."""
        return paired(self.samples, other.samples, throughput)

    def cpu_ratio_to(self, other: Row) -> Spread | None:
        """Return CPU a request over that of another contender, paired by round."""
        return paired(self.samples, other.samples, cpu)


@dataclass(frozen=True, slots=True)
class Table:
    """One suite's rows; the first is what the ratios are to."""

    name: str
    title: str
    connections: int
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """Return the row of a contender, or None when it was not measured."""
        return next((each for each in self.rows if each.name == name), None)


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run: when, of which revision, how, where, with what, and every round of every table."""

    taken_at: str
    revision: str
    rounds: int
    seconds: int
    is_quick: bool
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    tables: tuple[Table, ...]
    left_out: tuple[str, ...] = ()
    format: int = field(default=FORMAT)

    @property
    def foreign_share(self) -> float:
        """How much of the server's cores others used meanwhile, median of all samples; 0 without samples."""
        samples = [each for table in self.tables for row in table.rows for each in row.samples]
        return spread([each.foreign_share for each in samples]).median if samples else 0.0

    def table(self, name: str) -> Table | None:
        """Return the table of a suite, or None when it was not measured."""
        return next((each for each in self.tables if each.name == name), None)

    def row(self, table: str, name: str) -> Row | None:
        """Return one contender's row, or None when it was not measured."""
        found = self.table(table)
        return found.row(name) if found is not None else None


def dump(results: Results) -> str:
    """Return the results as JSON, a sample a line."""
    tables = [_dumped(table) for table in results.tables]
    head = asdict(results) | {"tables": None}
    return (
        json.dumps(head, indent=1, ensure_ascii=False).replace(
            '"tables": null', '"tables": [\n' + ",\n".join(tables) + "\n ]"
        )
        + "\n"
    )


def load(text: str) -> Results:
    """Read what `dump` wrote. Raises `BenchFailed` for a file of another version."""
    read = json.loads(text)
    if read.get("format") != FORMAT:
        raise BenchFailed("The file of results is of another version; measure again.")
    tables = tuple(_table(each) for each in read.pop("tables"))
    left_out = tuple(read.pop("left_out"))
    return Results(**read, tables=tables, left_out=left_out)


def newest(directory: Path) -> Path:
    """Return the newest file of results in a directory. Raises `BenchFailed` when there is none."""
    found = sorted(directory.glob("*.json"), key=lambda path: load(path.read_text()).taken_at)
    if not found:
        raise BenchFailed("There are no results yet; run `python3 dev.py bench`.")
    return found[-1]


def _dumped(table: Table) -> str:
    rows = ",\n".join(_dumped_row(row) for row in table.rows)
    facts = json.dumps({"name": table.name, "title": table.title, "connections": table.connections})
    return f'  {facts[:-1]}, "rows": [\n{rows}\n  ]}}'


def _dumped_row(row: Row) -> str:
    samples = ",\n".join(f"     {json.dumps(_rounded(asdict(each)))}" for each in row.samples)
    facts = json.dumps({"name": row.name, "title": row.title}, ensure_ascii=False)
    return f'   {facts[:-1]}, "samples": [\n{samples}\n   ]}}'


def _rounded(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in sample.items()}


def _table(read: Mapping[str, Any]) -> Table:
    return Table(read["name"], read["title"], read["connections"], tuple(map(_row, read["rows"])))


def _row(read: Mapping[str, Any]) -> Row:
    samples: Sequence[Mapping[str, Any]] = read["samples"]
    return Row(read["name"], read["title"], tuple(Sample(**each) for each in samples))
