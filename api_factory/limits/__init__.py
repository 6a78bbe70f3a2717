"""Rate limits: how often somebody may call in a window of time."""

from __future__ import annotations

from api_factory.limits.headers import QuotaStatus, render_limits, render_policies
from api_factory.limits.memory import WindowStorage
from api_factory.limits.service import Backend, Limits
from api_factory.limits.windows import Demand, Reading, WindowStatus

__all__ = [
    "Backend",
    "Demand",
    "Limits",
    "QuotaStatus",
    "Reading",
    "WindowStatus",
    "WindowStorage",
    "render_limits",
    "render_policies",
]
