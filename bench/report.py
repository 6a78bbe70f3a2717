"""Results as Markdown: a table a suite, the goals, and what it was measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bench.commits import NAME as BARE_COMMIT
from bench.figures import Spread
from bench.goals import Judged, judge
from bench.results import Results, Row, Table

NOISY: Final = 0.10
"""From this share of the server's core on, what others use is worth a warning."""


def markdown(results: Results) -> str:
    """Return the whole report."""
    kind = "A quick run: read no figure in it." if results.is_quick else "A whole run."
    parts = [
        f"# Benchmark of {results.revision}, {results.taken_at[:10]}",
        f"{kind} {summary(results)}",
        "## Goals",
        goals(results),
        *(part for table in results.tables for part in (f"## {table.title}", suite(table))),
        "## Machine and versions",
        facts({**results.machine, **results.versions}),
    ]
    return "\n\n".join(parts) + "\n"


def summary(results: Results) -> str:
    """Return in words how it was measured."""
    left_out = (
        f" Left out, because Node is missing: {', '.join(results.left_out)}." if results.left_out else ""
    )
    return (
        f"{results.rounds} interleaved rounds of {results.seconds} s for each contender. "
        "Figures are medians over the rounds, ranges in brackets; ratios are taken within each round."
        f"{_noise(results)}{left_out}"
    )


def goals(results: Results) -> str:
    """Return the table of goals and verdicts."""
    return _table(
        ("Goal", "Wanted", "Measured (range)", "Verdict", "By CPU alone (range)"),
        [_judged(each) for each in judge(results)],
    )


def suite(table: Table) -> str:
    """Return the table of one suite; the ratios are to its first row."""
    heads = (
        "",
        "Requests/s (range)",
        "Ratio (range)",
        "CPU µs/request",
        "CPU ratio",
        "p50 ms",
        "p99 ms",
        "Core used",
    )
    rows = [_row(row, table.rows[0]) for row in table.rows]
    notes = [_note(row) for row in table.rows if not row.is_clean]
    return "\n\n".join([_table(heads, rows), *notes])


def facts(known: Mapping[str, str]) -> str:
    """Return names and values as a table."""
    return _table(("What", "Which"), [(name, text) for name, text in known.items()])


def _noise(results: Results) -> str:
    """Say so when others used the server's core: throughput is then what they left of it."""
    foreign = results.foreign_share
    if foreign < NOISY:
        return ""
    return (
        f" **The machine was not idle: others used {foreign:.0%} of the server's core, so read the CPU and "
        "not the throughput, and measure again before you believe either.**"
    )


def _judged(each: Judged) -> Sequence[str]:
    measured, by_cpu = ("" if one is None else _ranged(one) for one in (each.measured, each.by_cpu))
    return each.goal.text, each.goal.wanted, measured, each.verdict, by_cpu


def _row(row: Row, first: Row) -> Sequence[str]:
    if row.name == BARE_COMMIT:
        return row.title, _rate(row.requests_per_second), "", "", "", *_latencies(row), ""
    ratio, cpu_ratio = row.ratio_to(first), row.cpu_ratio_to(first)
    return (
        row.title,
        _rate(row.requests_per_second),
        _ranged(ratio) if ratio is not None else "",
        f"{row.cpu_us.median:.0f}",
        f"{cpu_ratio.median:.2f}" if cpu_ratio is not None else "",
        *_latencies(row),
        f"{row.core_share:.0%}",
    )


def _latencies(row: Row) -> tuple[str, str]:
    return f"{row.p50_us / 1000:.2f}", f"{row.p99_us / 1000:.1f}"


def _note(row: Row) -> str:
    refused = sum(each.refused for each in row.samples)
    broken = sum(each.broken for each in row.samples)
    late = sum(each.late for each in row.samples)
    counts = f"{refused} refused, {broken} broken, {late} later than 2 s"
    return f"{row.title}: {counts}; only good answers are counted."


def _rate(figure: Spread) -> str:
    return f"{figure.median:,.0f} ({figure.least:,.0f} to {figure.most:,.0f})"


def _ranged(figure: Spread) -> str:
    return f"{figure.median:.2f} ({figure.least:.2f} to {figure.most:.2f})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
