"""Accounts and plans: who may call, and how much. Meaning, guarantees and boundaries: README.md."""

from __future__ import annotations

from api_factory.accounts.inputs import LARGEST_UNITS, checked_text, checked_units, is_storable
from api_factory.accounts.model import Account, AccountStatus, Entitlement, Plan, PlanChanges
from api_factory.accounts.offer import unit_price
from api_factory.accounts.plans import load_plans
from api_factory.accounts.service import Accounts, Plans

__all__ = [
    "LARGEST_UNITS",
    "Account",
    "AccountStatus",
    "Accounts",
    "Entitlement",
    "Plan",
    "PlanChanges",
    "Plans",
    "checked_text",
    "checked_units",
    "is_storable",
    "load_plans",
    "unit_price",
]
