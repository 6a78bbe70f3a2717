"""A clock to advance: it runs with the machine's, ahead of it by what it was advanced, or stands still."""

from __future__ import annotations

import time


class Clock:
    """The time of this Stripe in whole seconds since 1970."""

    def __init__(self, *, ahead_seconds: int = 0, stands_at: int | None = None) -> None:
        """Run ahead of the machine's clock, or stand at a time until it is advanced."""
        self._ahead_seconds = ahead_seconds
        self._stands_at = stands_at
        self._pinned: int | None = None

    def now(self) -> int:
        """Return the time; while the past is caught up on, the time of what is being done."""
        if self._pinned is not None:
            return self._pinned
        if self._stands_at is not None:
            return self._stands_at
        return int(time.time()) + self._ahead_seconds

    def pin(self, moment: int | None) -> None:
        """Let it be that moment until it is unpinned with None."""
        self._pinned = moment

    def move_to(self, moment: int) -> None:
        """Go on from that moment, standing or running as before. A clock is never put back."""
        seconds = max(0, moment - self.now())
        if self._stands_at is not None:
            self._stands_at += seconds
        else:
            self._ahead_seconds += seconds

    def to_json(self) -> dict[str, int | None]:
        """Return what the constructor takes."""
        return {"ahead_seconds": self._ahead_seconds, "stands_at": self._stands_at}
