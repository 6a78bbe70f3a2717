"""SIGINT and SIGTERM: the first asks to end in order, the second ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

FORCED = 1


class Stop:
    """What the signals do to this process; make it in the main thread."""

    def __init__(self, signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)) -> None:
        """Take the signals over; until `on_ask`, the first raises `KeyboardInterrupt` in the main thread."""
        self._ask: Callable[[], None] | None = None
        self._is_asked = False
        for number in signals:
            signal.signal(number, self._handle)

    def on_ask(self, ask: Callable[[], None]) -> None:
        """Call this at the first signal instead; it only sets a flag, for it interrupts whatever runs."""
        self._ask = ask

    def ask(self) -> None:
        """Do what a signal does: end in order, or at once when that was asked for already."""
        if self._is_asked:
            os._exit(FORCED)  # children notice by themselves that their parent has gone
        self._is_asked = True
        if self._ask is None:
            raise KeyboardInterrupt
        self._ask()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.ask()
