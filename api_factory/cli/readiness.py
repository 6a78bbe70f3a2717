"""When a server has become ready to answer, and what is said then."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

READYZ_PATH = "/_api/readyz"

_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 3.0


class ReadinessWatch:
    """Asks a server over its socket until it is ready, then says so once; in a thread of its own."""

    def __init__(self, url: str, announce: Callable[[], None]) -> None:
        """Watch the server behind this url; `announce` runs in the thread."""
        self._url = url
        self._announce = announce
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more: the server has ended, ready or not."""
        self._ended.set()
        self._thread.join(_ANSWER_SECONDS)

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            if status_of(self._url + READYZ_PATH) == http.HTTPStatus.OK:
                self._announce()
                return


def status_of(url: str, *, timeout_seconds: float = _ANSWER_SECONDS) -> int | None:
    """Return the HTTP status of a GET, or None when nothing answers there as HTTP."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
