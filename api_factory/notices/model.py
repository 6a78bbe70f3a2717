"""What the slice speaks of: a notice, its deliveries, and why one did not arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from api_factory.ids import public_id


class Channel(StrEnum):
    """A way on which notices leave."""

    WEBHOOK = "webhook"
    OWNER_MAIL = "owner_mail"
    CUSTOMER_MAIL = "customer_mail"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNotice:
    """One thing that happened.

    `kind` is `subject.what_happened`, such as `billing.payment_failed`; `dedupe_key` names the transition for
    ever; `facts` are JSON without a secret.
    """

    kind: str
    dedupe_key: str
    account_id: UUID | None
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notice that was recorded."""

    id: UUID
    kind: str
    account_id: UUID | None
    facts: Mapping[str, object]
    created_at: datetime

    @property
    def public_id(self) -> str:
        """Return the id that receivers see, `msg_…`: the same at every attempt."""
        return public_id("msg", self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notice on its way through one channel; `recipient` is a mail address, None for the webhook."""

    notice: Notice
    channel: Channel
    recipient: str | None
    state: str
    attempts: int
    next_attempt_at: datetime
    last_error: str | None
    lease: UUID | None = None


class NotDelivered(Exception):
    """The receiver did not take it; `is_final` when it never will."""

    def __init__(
        self, reason: str, *, is_final: bool = False, retry_after_seconds: int | None = None
    ) -> None:
        """Say why without naming the receiver or a secret."""
        self.reason = reason
        self.is_final = is_final
        self.retry_after_seconds = retry_after_seconds
        super().__init__(reason)
