"""What is charged and counted: quotas, events, reservations. See README.md."""

from __future__ import annotations

from api_factory.usage.idempotency import Idempotency, IdempotencyRequest, idempotency_request
from api_factory.usage.ledger import Ledger, Line, Payer, Reservation, Stale
from api_factory.usage.outcomes import Entry, Finish, Outcome
from api_factory.usage.service import (
    Difference,
    Filter,
    Usage,
    UsageBucket,
    UsageReport,
    Verification,
)
from api_factory.usage.standing import QuotaStanding
from api_factory.usage.workers import RegisteredWorker

__all__ = [
    "Difference",
    "Entry",
    "Filter",
    "Finish",
    "Idempotency",
    "IdempotencyRequest",
    "Ledger",
    "Line",
    "Outcome",
    "Payer",
    "QuotaStanding",
    "RegisteredWorker",
    "Reservation",
    "Stale",
    "Usage",
    "UsageBucket",
    "UsageReport",
    "Verification",
    "idempotency_request",
]
