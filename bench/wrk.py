"""The load generator: Debian's `wrk`, one thread, whose numbers come back as one line of JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.failure import BenchFailed
from bench.requests import Request

SCRIPT: Final = Path(__file__).with_name("load.lua")
_MARK: Final = "RESULT "
_MISSING: Final = "wrk is not installed; it makes the load. On Debian and Ubuntu: apt-get install wrk."
_PATIENCE_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw: counts of requests and failures, and latencies in microseconds.

    `refused` are answers that were not 2xx or 3xx, `broken` failed connections, `late` answers that took
    longer than wrk's two seconds.
    """

    requests: int
    seconds: float
    refused: int
    broken: int
    late: int
    p50_us: int
    p99_us: int

    @property
    def answered(self) -> int:
        """Return how many requests were answered as they should be."""
        return self.requests - self.refused


def find_wrk() -> str:
    """Return the program. Raises `BenchFailed` with the line that installs it."""
    found = shutil.which("wrk")
    if found is None:
        raise BenchFailed(_MISSING)
    return found


def run_wrk(url: str, request: Request, keys: Path, *, connections: int, seconds: int) -> Load:
    """Send one request again and again, from so many connections and with the keys of a file in turn."""
    variables = {
        **os.environ,
        "BENCH_PATH": request.path,
        "BENCH_BODY": request.body,
        "BENCH_KEYS": str(keys) if request.has_key else "",
    }
    argv = [find_wrk(), "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    done = subprocess.run(
        [*argv, "--script", str(SCRIPT), url],
        env=variables,
        capture_output=True,
        text=True,
        timeout=seconds + _PATIENCE_SECONDS,
    )
    return parse_output(done.stdout, done.stderr)


def parse_output(said: str, complained: str = "") -> Load:
    """Read the line that the script prints. Raises `BenchFailed` when it is not there."""
    for line in said.splitlines():
        if line.startswith(_MARK):
            counted = json.loads(line.removeprefix(_MARK))
            return Load(seconds=counted.pop("microseconds") / 1e6, **counted)
    raise BenchFailed(f"wrk measured nothing: {(complained or said).strip()[-500:]}")
