"""The store of the counters that several workers share: that of REDIS_URL, or a Valkey beside them."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator

from api_factory.embedded import EmbeddedServerFailed, EmbeddedValkey
from api_factory.settings import Settings

LOGGER = logging.getLogger("api_factory.limits")

REDIS_VARIABLE = "REDIS_URL"

_LOOK_SECONDS = 1.0


@contextlib.contextmanager
def shared_counters(settings: Settings) -> Iterator[Callable[[], None]]:
    """Let the workers that are started meanwhile share their counters; yields what to call now and then.

    Without REDIS_URL a Valkey of the data directory is started, or that of another server there is used, and
    the call starts it again when it has died. Where there can be none, each worker enforces its part of every
    limit.
    """
    if settings.redis_url is not None:
        yield _nothing
        return
    valkey = EmbeddedValkey(settings.embedded_valkey_directory)
    try:
        valkey.start()
    except EmbeddedServerFailed as failure:
        LOGGER.warning("the workers share no counters, so each enforces its part of every limit: %s", failure)
        yield _nothing
        return
    os.environ[REDIS_VARIABLE] = valkey.url  # from where the workers read it
    try:
        yield _Watch(valkey).look
    finally:
        del os.environ[REDIS_VARIABLE]
        valkey.stop()


class _Watch:
    """Starts a Valkey again that has died, or whose owner has ended; says so once an outage."""

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self._valkey = valkey
        self._next_look = 0.0
        self._is_failing = False

    def look(self) -> None:
        now = time.monotonic()
        if self._valkey.is_running or now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        try:
            has_started = self._valkey.start(patience_seconds=0) == "started"
        except EmbeddedServerFailed as failure:
            if not self._is_failing:
                LOGGER.warning("the embedded Valkey is away: %s", failure)
            self._is_failing = True
            return
        self._is_failing = False
        if has_started:
            LOGGER.warning("the embedded Valkey had ended and was started again")


def _nothing() -> None:
    """Nothing is ours to keep running."""
