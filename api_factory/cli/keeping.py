"""The embedded PostgreSQL, kept running while a server runs."""

from __future__ import annotations

import logging
import time

from api_factory.embedded import EmbeddedPostgres, EmbeddedPostgresFailed

LOGGER = logging.getLogger("api_factory.postgres")

_LOOK_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


class Keeper:
    """Starts the embedded PostgreSQL again when it has ended; one that keeps ending, ever more rarely."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        """Keep this one, which has been started."""
        self._postgres = postgres
        self._pause_seconds = _LOOK_SECONDS
        self._next_look = time.monotonic() + _LOOK_SECONDS

    def tend(self) -> None:
        """Look after it when that is due; call it often, and from the main thread only."""
        if time.monotonic() < self._next_look:
            return
        if self._was_away():
            self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
        else:
            self._pause_seconds = _LOOK_SECONDS
        self._next_look = time.monotonic() + self._pause_seconds

    def _was_away(self) -> bool:
        try:
            was_away = self._postgres.tend()
        except EmbeddedPostgresFailed as error:
            LOGGER.error("the embedded PostgreSQL has ended and cannot be started: %s", error)
            return True
        if was_away:
            LOGGER.warning("the embedded PostgreSQL has ended; it is started again")
        return was_away
