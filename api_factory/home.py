"""A place for caches where the user has no home, as under the numbers that container platforms invent."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def settle_home() -> None:
    """Name the temporary directory as the place of caches when no home is known; else change nothing.

    A formatter that Piccolo imports asks for that place, and would end the whole program without it.
    """
    if "XDG_CACHE_HOME" in os.environ:
        return
    try:
        Path.home()
    except (RuntimeError, KeyError):
        os.environ["XDG_CACHE_HOME"] = tempfile.gettempdir()
