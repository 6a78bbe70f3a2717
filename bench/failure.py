"""Why a measurement cannot be had, in one sentence with the fix."""

from __future__ import annotations


class BenchFailed(Exception):
    """The run stops here; the message says what to do."""
