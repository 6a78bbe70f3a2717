"""What passes between an action and the server at a call: who calls, and how a call fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NewType

ID = NewType("ID", str)
"""An opaque identifier: a string that the client keeps and sends back unchanged (GraphQL `ID`)."""

SERVER_CODES: Final = frozenset(
    {
        "BAD_USER_INPUT",
        "CONFIGURATION",
        "COST_LIMIT_EXCEEDED",
        "FORBIDDEN",
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "IDEMPOTENCY_CONFLICT",
        "INTERNAL",
        "NOT_FOUND",
        "OPERATION_RESOLUTION_FAILURE",
        "PAYMENT_REQUIRED",
        "PERSISTED_QUERY_NOT_FOUND",
        "QUERY_TOO_COMPLEX",
        "QUOTA_EXCEEDED",
        "RATE_LIMITED",
        "UNAUTHENTICATED",
        "UNAVAILABLE",
    }
)
"""The codes the server itself answers with; an action may not use them for something else."""

_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a parameter annotated with this type is filled in by the server, never by the client."""

    account_id: str
    key_id: str | None
    key_name: str
    scopes: frozenset[str]
    livemode: bool
    request_id: str
    metadata: Mapping[str, object]
    idempotency_key: str | None = None
    """What the client calls this request, the same when it is run again: pass it on with `key_id`."""


class ActionError(Exception):
    """A failure the author expects: message, code and extensions reach the client, and nothing is charged."""

    def __init__(self, message: str, code: str = "ACTION_FAILED", **extensions: object) -> None:
        """Refuse a call; `ValueError` when the code is not UPPER_SNAKE or belongs to the server."""
        if not _CODE.fullmatch(code):
            raise ValueError(f"{code!r} is not an error code; write it like TEXT_TOO_LONG.")
        if code in SERVER_CODES:
            raise ValueError(f"{code} is a code of the server; choose one of your own, like DOCUMENT_{code}.")
        self.message = message
        self.code = code
        self.extensions = extensions
        super().__init__(message)
