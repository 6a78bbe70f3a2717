"""A worker whose own clock is wrong: `python skewed_server.py SECONDS PORT` serves with it."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

import uvicorn

from api.app import create_app
from api_factory.settings import load_settings
from api_factory.wiring import build_engine

_time, _time_ns = time.time, time.time_ns


class SkewedClock:
    """The clock of a machine that nobody sets."""

    def __init__(self, seconds: float) -> None:
        """Be off by so many seconds."""
        self._seconds = seconds

    def now(self) -> datetime:
        """Return the present moment, wrong."""
        return datetime.now(UTC) + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic()


def main() -> None:
    """Serve; the system's calls in this interpreter are off too."""
    seconds, port = int(sys.argv[1]), int(sys.argv[2])
    time.time = lambda: _time() + seconds
    time.time_ns = lambda: _time_ns() + seconds * 1_000_000_000
    engine = build_engine(load_settings(), clock=SkewedClock(seconds))
    uvicorn.run(create_app(engine), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
