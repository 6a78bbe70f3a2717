"""The whole comparison in one command: `python3 dev.py bench`.

Measures this server, itself with one layer off in turn, the bare limit and the peers side by side, in
interleaved rounds, and writes tables and every round to bench/results. It needs Linux, two cores and wrk;
the peers of Node also need node and npm. A run of part of it, or a quick one, is written to .bench/results.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from bench import machine, report, results
from bench.cores import divide_cores
from bench.environments import LOCAL, find_node
from bench.failure import BenchFailed
from bench.ground import ground
from bench.results import Results
from bench.rounds import Pace, hold, measure
from bench.suites import Suite, chosen, suites, without_node
from bench.wrk import find_wrk

KEPT = Path(__file__).with_name("results")


def main() -> int:
    """Measure, write, and print the tables; 1 when something was missing or failed."""
    options = _options()
    # Ended from outside it ends what it has started, as it does when a measurement fails.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        selected = chosen(suites(is_quick=options.quick), options.only)
        left_out: tuple[str, ...] = ()
        if find_node() is None and not options.only:
            selected, left_out = without_node(selected)
        if options.list:
            print(_listed(selected))
            return 0
        if options.hold:
            _hold(selected, options.hold)
        found = _run(selected, left_out, options)
    except BenchFailed as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    written = _write(found, options.out or _place(options))
    print(report.markdown(found))
    print(f"Written to {written}", file=sys.stderr)
    return 0


def _run(selected: Sequence[Suite], left_out: tuple[str, ...], options: argparse.Namespace) -> Results:
    find_wrk()
    pace = Pace(options.rounds, options.seconds, 1 if options.quick else 2)
    with ground(divide_cores()) as made:
        facts = machine.machine(made)
        tables = tuple(measure(suite, made, pace, _say) for suite in selected)
    return Results(
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=machine.revision(),
        rounds=pace.rounds,
        seconds=pace.seconds,
        is_quick=options.quick,
        machine=facts,
        versions=machine.versions(),
        tables=tables,
        left_out=left_out,
    )


def _hold(selected: Sequence[Suite], name: str) -> NoReturn:
    suite = next((each for each in selected if name in [one.name for one in each.contenders]), None)
    if suite is None:
        raise BenchFailed(f"No contender is called {name!r}; --list names them.")
    find_wrk()
    with ground(divide_cores()) as made:
        hold(suite, name, made, _say)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second, and fewer keys")
    parser.add_argument("--rounds", type=_count, help="rounds of each table; 5 unless given")
    parser.add_argument("--seconds", type=_count, help="of each contender in each round; 4 unless given")
    parser.add_argument("--only", type=_names, default=(), metavar="NAME,...", help="tables or contenders")
    parser.add_argument("--list", action="store_true", help="print the names of all, and measure nothing")
    parser.add_argument("--hold", metavar="NAME", help="keep one under load, for a profiler to look at")
    parser.add_argument("--out", type=Path, metavar="DIRECTORY", help="where to write the results")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 4)
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number from 1")
    return int(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _listed(selected: Sequence[Suite]) -> str:
    width = max(len(each.name) for suite in selected for each in suite.contenders)
    lines = []
    for suite in selected:
        lines.append(f"{suite.name}: {suite.title}")
        lines += [f"  {each.name:{width}}  {each.title}" for each in suite.contenders]
    return "\n".join(lines)


def _place(options: argparse.Namespace) -> Path:
    # What is committed is a whole run; a part of one would take its place.
    return LOCAL / "results" if options.quick or options.only else KEPT


def _write(found: Results, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    name = f"{found.taken_at[:10]}-{found.revision}"
    (directory / f"{name}.md").write_text(report.markdown(found))
    path = directory / f"{name}.json"
    path.write_text(results.dump(found))
    return path


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
