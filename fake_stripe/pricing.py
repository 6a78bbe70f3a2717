"""What a quantity costs at a price: per unit, in packages, or in tiers; whole cents, half up."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from fake_stripe.world import Resource


def cost_cents(price: Resource, quantity: int) -> int:
    """Return the amount of a line in the smallest unit of the currency."""
    if price["billing_scheme"] == "tiered":
        amount = _tiered(price, quantity)
    else:
        amount = Decimal(price["unit_amount_decimal"] or 0) * _transformed(price, quantity)
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def share_cents(amount_cents: int, part_seconds: int, whole_seconds: int) -> int:
    """Return the part of an amount that falls to a part of a period."""
    return int(
        (Decimal(amount_cents) * part_seconds / whole_seconds).quantize(Decimal(1), rounding=ROUND_HALF_UP)
    )


def plan_of(price: Resource) -> Resource:
    """Return the price in the older shape that subscription items still carry."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def _transformed(price: Resource, quantity: int) -> int:
    transform = price["transform_quantity"]
    if transform is None:
        return quantity
    packages, rest = divmod(quantity, int(transform["divide_by"]))
    return packages + (1 if rest and transform["round"] == "up" else 0)


def _tiered(price: Resource, quantity: int) -> Decimal:
    total, below = Decimal(0), 0
    for tier in price["_tiers"]:
        upper = tier["up_to"]
        is_last = upper is None or quantity <= upper
        if price["tiers_mode"] == "volume":
            if is_last:
                return _tier_cost(tier, quantity)
            continue
        count = (quantity if is_last else upper) - below
        if count > 0:
            total += _tier_cost(tier, count)
        if is_last:
            break
        below = upper
    return total


def _tier_cost(tier: Resource, count: int) -> Decimal:
    return Decimal(tier["flat_amount"] or 0) + Decimal(tier["unit_amount_decimal"] or 0) * count
