"""Rate limits: how often somebody may call in a window of time."""

from __future__ import annotations

from api_factory.limits.address import open_wire
from api_factory.limits.allowance import Allowances
from api_factory.limits.failover import FailoverLimits
from api_factory.limits.headers import QuotaStatus, render_limits, render_policies
from api_factory.limits.memory import WindowStorage
from api_factory.limits.redis import RedisBackend, StoreUnavailable
from api_factory.limits.service import Backend, Limits
from api_factory.limits.windows import Demand, Reading, WindowStatus

__all__ = [
    "Allowances",
    "Backend",
    "Demand",
    "FailoverLimits",
    "Limits",
    "QuotaStatus",
    "Reading",
    "RedisBackend",
    "StoreUnavailable",
    "WindowStatus",
    "WindowStorage",
    "open_wire",
    "render_limits",
    "render_policies",
]
