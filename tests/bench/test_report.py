"""The tables of a report: medians with ranges, ratios to the first row, and what did not go well."""

from __future__ import annotations

from dataclasses import replace

from bench import report
from bench.results import Row, Table
from tests.bench.making import SAMPLE, calls, results, row

BARE = row("bare", 1000, 2000, 3000, title="Bare ASGI", cpu_us=50)


def test_a_row_shows_medians_ranges_and_ratios_to_the_first() -> None:
    ours = row("full", 600, 1200, 2100, title="API-Factory", cpu_us=125)
    assert report.suite(Table("call", "", 32, (BARE, ours))).splitlines()[2:] == [
        "| Bare ASGI | 2,000 (1,000 to 3,000) | 1.00 (1.00 to 1.00) | 50 | 1.00 | 2.00 | 9.0 | 100% |",
        "| API-Factory | 1,200 (600 to 2,100) | 0.60 (0.60 to 0.70) | 125 | 2.50 | 2.00 | 9.0 | 100% |",
    ]


def test_answers_that_were_refused_or_late_are_said_below_the_table() -> None:
    ours = Row("full", "API-Factory", (replace(SAMPLE, refused=3, late=1),))
    assert report.suite(Table("call", "", 32, (ours,))).splitlines()[-1] == (
        "API-Factory: 3 refused, 0 broken, 1 later than 2 s; only good answers are counted."
    )


def test_a_commit_of_the_database_has_a_latency_and_no_ratio() -> None:
    commits = row("bare-commit", 500, 500, 500, title="PostgreSQL", p50_us=1900)
    shown = report.suite(Table("commit", "", 1, (BARE, commits))).splitlines()[-1]
    assert shown == "| PostgreSQL | 500 (500 to 500) |  |  |  | 1.90 | 9.0 |  |"


def test_a_report_says_what_was_left_out_and_that_a_quick_run_means_nothing() -> None:
    quick = report.markdown(replace(results(), is_quick=True, left_out=("Apollo Server", "GraphQL Yoga")))
    assert "A quick run: read no figure in it." in quick
    assert "Left out, because Node is missing: Apollo Server, GraphQL Yoga." in quick
    assert "| cores | 2 |" in quick


def test_every_table_of_a_run_is_in_its_report() -> None:
    shown = report.markdown(calls(BARE))
    assert "\n## One guarded call\n" in shown
    assert "\n| Bare ASGI | 2,000 (1,000 to 3,000) |" in shown


def test_a_run_on_a_busy_machine_warns_of_its_throughput() -> None:
    def told(share: float) -> bool:
        noisy = Row("full", "API-Factory", (replace(SAMPLE, foreign_share=share),))
        return "others used 40% of the server's core" in report.summary(calls(noisy))

    assert told(0.4)
    assert "not idle" not in report.summary(calls(BARE))


def test_a_goal_shows_what_was_measured_and_the_same_by_cpu() -> None:
    ours = row("full", 650, 1300, 2100, cpu_us=125)
    shown = report.goals(calls(BARE, ours)).splitlines()[2]
    assert shown == (
        "| Everything on, of bare ASGI | at least 0.6 | 0.65 (0.65 to 0.70) | met | 0.40 (0.40 to 0.40) |"
    )
