"""What Stripe has to hold so that the plans can be bought: products and prices, derived from the plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from api_factory.accounts import Plan, unit_price
from api_factory.money import format_amount

PLAN_METADATA: Final = "api_factory_plan"
"""On a product and a price: the plan that it grants, by its slug."""
UNITS_METADATA: Final = "api_factory_units"
"""On the product and the price of metered units: the plan that bills them."""
UNIT_LABEL: Final = "unit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ware:
    """One product with one price; `unit_amount` is in the currency's smallest unit, maybe a fraction."""

    product_id: str
    name: str
    description: str
    lookup_key: str
    currency: str
    unit_amount: Decimal
    interval: str
    is_metered: bool
    metadata: Mapping[str, str]

    @property
    def price_text(self) -> str:
        """Return the price as people read it."""
        amount = format_amount(self.unit_amount, self.currency)
        return f"{amount} a unit" if self.is_metered else f"{amount} a {self.interval}"

    def differences(self, price: Mapping[str, Any], meter_id: str | None) -> list[str]:
        """Name what a price of Stripe has otherwise; none of it can be changed there."""
        recurring = price.get("recurring") or {}
        found = Decimal(str(price.get("unit_amount_decimal") or price.get("unit_amount") or 0))
        usage = "metered" if self.is_metered else "licensed"
        told = {
            "amount": price.get("billing_scheme") == "per_unit" and found == self.unit_amount,
            "currency": price.get("currency") == self.currency,
            "interval": (recurring.get("interval"), recurring.get("interval_count")) == (self.interval, 1),
            "usage type": recurring.get("usage_type") == usage,
            "meter": not self.is_metered or meter_id is None or recurring.get("meter") == meter_id,
            "transformation": price.get("transform_quantity") is None,
            "active": bool(price.get("active")),
        }
        return [name for name, is_same in told.items() if not is_same]


def wares_of(plans: Sequence[Plan]) -> tuple[Ware, ...]:
    """Return what Stripe has to hold, in the order of the plans; plans that nobody can buy add nothing."""
    return tuple(ware for plan in plans if plan.is_sold for ware in _wares(plan))


def bills_units(plans: Sequence[Plan]) -> bool:
    """Tell whether any plan on offer needs a meter."""
    return any(plan.is_sold and plan.billed_units != "none" for plan in plans)


def _wares(plan: Plan) -> list[Ware]:
    wares = []
    if plan.stripe_lookup_key is not None:
        wares.append(
            Ware(
                product_id=f"api_factory_{plan.slug}",
                name=plan.name,
                description=plan.description,
                lookup_key=plan.stripe_lookup_key,
                currency=plan.currency,
                unit_amount=Decimal(plan.price_cents),
                interval=plan.billing_interval,
                is_metered=False,
                metadata={PLAN_METADATA: plan.slug},
            )
        )
    if plan.billed_units != "none" and plan.overage_lookup_key is not None:
        which = "units beyond the quota" if plan.billed_units == "beyond" else "units"
        wares.append(
            Ware(
                product_id=f"api_factory_{plan.slug}_units",
                name=f"{plan.name}: {which}",
                description="",
                lookup_key=plan.overage_lookup_key,
                currency=plan.currency,
                unit_amount=unit_price(plan),
                interval=plan.billing_interval,
                is_metered=True,
                metadata={UNITS_METADATA: plan.slug},
            )
        )
    return wares
