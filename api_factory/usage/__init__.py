"""What is charged and counted: quotas, events, reservations. See README.md."""

from __future__ import annotations

from api_factory.usage.ledger import Ledger, Line, Payer, Reservation, Stale
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
    "Filter",
    "Ledger",
    "Line",
    "Payer",
    "QuotaStanding",
    "RegisteredWorker",
    "Reservation",
    "Stale",
    "Usage",
    "UsageBucket",
    "UsageReport",
    "Verification",
]
