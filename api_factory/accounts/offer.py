"""What cannot be sold as it is written: rules between the fields of a plan, and between plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import Final

from api_factory.accounts.model import Plan

LARGEST_AMOUNT_CENTS: Final = 99_999_999
"""Stripe: the largest `unit_amount` of a price has eight digits."""
STRIPE_DECIMALS: Final = 12
"""Stripe: `unit_amount_decimal` has at most 12 decimals."""

_OVERAGE_FIELDS: Final = ("billed_units", "overage_lookup_key", "overage_price", "overage_per_units")

Written = frozenset[str]
"""The names of the fields that the file gave; a rule may ask whether somebody meant something by it."""


def mistake_in_plan(plan: Plan, written: Written) -> str | None:
    """Say in one clause what contradicts itself in a plan and how to mend it; None when nothing does."""
    return next((mistake for rule in _RULES if (mistake := rule(plan, written)) is not None), None)


def mistake_in_plans(plans: Sequence[Plan]) -> str | None:
    """Say which two plans claim the same; a Stripe price grants one plan, or nobody knows which."""
    slugs = Counter(plan.slug for plan in plans)
    for slug, count in slugs.items():
        if count > 1:
            return f"two plans have the slug {slug!r}; rename one"
    owners: dict[str, str] = {}
    for plan in plans:
        for key in plan.lookup_keys:
            if key in owners:
                return (
                    f"plan {plan.slug!r} and plan {owners[key]!r} have the lookup key {key!r}; "
                    "give each price its own"
                )
            owners[key] = plan.slug
    return None


def unit_price(plan: Plan) -> Decimal:
    """Return the price of one unit beyond, in the currency's smallest unit: exact, if it has an end."""
    with localcontext() as context:
        context.prec = 50
        return (Decimal(plan.overage_price_cents) / plan.overage_per_units).normalize()


def _price_too_large(plan: Plan, written: Written) -> str | None:
    for field, amount in (("price", plan.price_cents), ("overage_price", plan.overage_price_cents)):
        if amount > LARGEST_AMOUNT_CENTS:
            return f"{field} is larger than Stripe takes; write at most {LARGEST_AMOUNT_CENTS:,}"
    return None


def _overage_of_a_hard_plan(plan: Plan, written: Written) -> str | None:
    given = next((field for field in _OVERAGE_FIELDS if field in written), None)
    if plan.overage == "hard" and given is not None:
        return f'{given} means nothing while overage is "hard"; remove it, or write overage = "soft"'
    return None


def _metered_price_without_units(plan: Plan, written: Written) -> str | None:
    given = next((field for field in _OVERAGE_FIELDS[1:] if field in written), None)
    if plan.billed_units == "none" and given is not None:
        return f'{given} is given but no unit is billed; write billed_units = "beyond" or "all", or remove it'
    return None


def _billed_without_price(plan: Plan, written: Written) -> str | None:
    if plan.billed_units == "none":
        return None
    if plan.stripe_lookup_key is None or plan.overage_lookup_key is None:
        missing = "stripe_lookup_key" if plan.stripe_lookup_key is None else "overage_lookup_key"
        return f'billed_units needs {missing}; add it, or write billed_units = "none"'
    if "overage_price" not in written:
        return "overage_price is missing; write what overage_per_units units cost, 0 for nothing"
    return None


def _soft_but_never_billed(plan: Plan, written: Written) -> str | None:
    if plan.overage == "soft" and "billed_units" not in written:
        return (
            'overage "soft" lets calls beyond the quota pass; say with billed_units what is billed: '
            '"beyond", "all" or "none"'
        )
    if plan.billed_units == "beyond" and plan.quota_units is None:
        return 'nothing is beyond quota_units = "unlimited"; write a number, or billed_units = "all"'
    return None


def _unit_price_without_end(plan: Plan, written: Written) -> str | None:
    exponent = unit_price(plan).as_tuple().exponent
    if isinstance(exponent, int) and -exponent > STRIPE_DECIMALS:
        return (
            f"overage_price / overage_per_units has more than {STRIPE_DECIMALS} decimals; choose an "
            "overage_per_units such as 1_000"
        )
    return None


def _trial_of_nothing(plan: Plan, written: Written) -> str | None:
    if plan.trial_days and plan.stripe_lookup_key is None:
        return (
            "trial_days needs stripe_lookup_key, for a trial is one of a subscription; add it or remove both"
        )
    if plan.trial_quota_units is not None and not plan.trial_days:
        return "trial_quota_units needs trial_days; add it, or remove trial_quota_units"
    return None


def _quantity_of_nothing(plan: Plan, written: Written) -> str | None:
    if plan.quantity_rule == "ignore":
        return None
    if plan.stripe_lookup_key is None:
        return 'quantity "multiply" needs stripe_lookup_key; add it, or write quantity = "ignore"'
    if plan.quota_units is None:
        return 'quantity "multiply" has nothing to multiply; give quota_units a number'
    return None


_RULES: Final[tuple[Callable[[Plan, Written], str | None], ...]] = (
    _price_too_large,
    _overage_of_a_hard_plan,
    _metered_price_without_units,
    _soft_but_never_billed,
    _billed_without_price,
    _unit_price_without_end,
    _trial_of_nothing,
    _quantity_of_nothing,
)
