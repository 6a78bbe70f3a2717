"""The official client with a judge: every answer has to pass the shape guard."""

from __future__ import annotations

import json
from typing import Any

import stripe

from tests.fake_stripe.shape import problems


class JudgedClient(stripe.RequestsClient):
    """Sends as the package does, and fails the test at the first answer of a wrong shape."""

    def request(self, method: str, url: str, headers: Any, post_data: Any = None) -> Any:
        """Send a request; what comes back with 200 is held against the package's own annotations."""
        content, status, answered = super().request(method, url, headers, post_data)
        if status == 200:
            found = problems(json.loads(content))
            assert not found, f"{method} {url}: {found}"
        return content, status, answered
