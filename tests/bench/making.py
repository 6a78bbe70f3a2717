"""Samples and rows of which a test says only what it is about."""

from __future__ import annotations

from dataclasses import replace

from bench.figures import Sample
from bench.results import Results, Row, Table

SAMPLE = Sample(
    requests_per_second=1000.0,
    p50_us=2000.0,
    p99_us=9000.0,
    cpu_us=100.0,
    core_share=1.0,
    foreign_share=0.0,
    stolen_share=0.0,
    requests=4000,
)


def row(name: str, *rates: float, title: str = "", cpu_us: float = 100.0, p50_us: float = 2000.0) -> Row:
    """Return a contender that answered so many requests a second, round by round."""
    samples = [replace(SAMPLE, requests_per_second=rate, cpu_us=cpu_us, p50_us=p50_us) for rate in rates]
    return Row(name, title or name, tuple(samples))


def results(*tables: Table) -> Results:
    """Return a run of these tables."""
    return Results(
        taken_at="2026-11-26T10:00:00+00:00",
        revision="abc1234",
        rounds=3,
        seconds=4,
        is_quick=False,
        machine={"cores": "2"},
        versions={"Python": "3.11"},
        tables=tables,
    )


def calls(*rows: Row) -> Results:
    """Return a run of the calls alone."""
    return results(Table("call", "One guarded call", 32, rows))
