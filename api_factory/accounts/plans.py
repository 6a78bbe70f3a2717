"""The file of plans: TOML, read whole or refused with the sentence that mends it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api_factory.accounts.inputs import LARGEST_UNITS, is_storable
from api_factory.accounts.model import BilledUnits, BillingInterval, Overage, Plan, QuantityRule
from api_factory.accounts.offer import mistake_in_plan, mistake_in_plans
from api_factory.errors import ConfigurationError
from api_factory.rates import format_rates, parse_rates

SHIPPED_PLANS: Final = Path(__file__).with_name("plans.toml")

_LONGEST_TRIAL_DAYS: Final = 730
"""Stripe: `subscription_data.trial_period_days` of a Checkout session."""

_UNITS = 'write a whole number of units from 0, or "unlimited"'
_COUNT = "write a whole number of units from 0"
_AMOUNT = "write a whole number of the currency's smallest unit, such as 2_900 for 29.00"
_KEY = "write the lookup key of a Stripe price, such as pro_monthly"
_FORMS: Final[Mapping[str, str]] = {
    "slug": "write 1 to 63 lower-case letters, digits and single hyphens, such as pro",
    "name": "write 1 to 200 characters for people",
    "description": "write at most 2,000 characters for people",
    "price": _AMOUNT,
    "currency": "write the three lower-case letters of its ISO 4217 code, such as usd",
    "interval": 'write "month" or "year"',
    "stripe_lookup_key": _KEY,
    "quota_units": _UNITS,
    "test_quota_units": _COUNT,
    "rate": 'write it as "10/second;600/minute" or "100 per 5 minute"',
    "scopes": 'write a list of names in capitals, such as ["RUN_ACTIONS"]',
    "overage": 'write "hard" or "soft"',
    "billed_units": 'write "none", "beyond" or "all"',
    "overage_lookup_key": "write the lookup key of a metered Stripe price, such as pro_units",
    "overage_price": _AMOUNT,
    "overage_per_units": "write the whole number of units, from 1, that overage_price is for",
    "trial_days": f"write a whole number of days from 0 to {_LONGEST_TRIAL_DAYS}",
    "trial_quota_units": _COUNT,
    "quantity": 'write "ignore" or "multiply"',
    "key_limit": "write a whole number from 0 to 1,000,000",
}


def load_plans(path: Path | None = None) -> tuple[Plan, ...]:
    """Read the plans of a file in its order; without one, the plans that this server ships.

    Raises `ConfigurationError` with one sentence that names the file, the plan, and what to write instead.
    """
    path = path or SHIPPED_PLANS
    plans = tuple(_plan(path, place, table) for place, table in enumerate(_tables(path)))
    mistake = mistake_in_plans(plans)
    if mistake is not None:
        raise ConfigurationError(f"{path}: {mistake}.")
    return plans


def _tables(path: Path) -> Sequence[object]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); set API_FACTORY_PLANS_FILE.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}; correct that line.") from error
    unknown = sorted(content.keys() - {"plan"})
    if unknown:
        raise ConfigurationError(f"{path}: {unknown[0]!r} is not known; write each plan as [[plan]].")
    written = content.get("plan")
    if not isinstance(written, list) or not written:
        raise ConfigurationError(f"{path} holds no plan; write each as [[plan]].")
    return written


def _plan(path: Path, place: int, table: object) -> Plan:
    slug = table.get("slug") if isinstance(table, dict) else None
    label = f"plan {slug!r}" if isinstance(slug, str) else f"plan number {place + 1}"
    try:
        written = _WrittenPlan.model_validate(table)
    except ValidationError as error:
        # What was written may be long or not printable, so the sentence leaves it out.
        sentence = _explain(error.errors(include_url=False, include_input=False)[0])
        raise ConfigurationError(f"{path}: {label}: {sentence}.") from None
    plan = written.as_plan(place)
    mistake = mistake_in_plan(plan, frozenset(written.model_fields_set))
    if mistake is not None:
        raise ConfigurationError(f"{path}: {label}: {mistake}.")
    return plan


def _explain(mistake: Any) -> str:
    if not mistake["loc"]:
        return "it is no table; write it as [[plan]]"
    field = str(mistake["loc"][0])
    if mistake["type"] == "missing":
        return f"{field} is missing; {_FORMS[field]}"
    if mistake["type"] == "extra_forbidden":
        near = get_close_matches(field, _FORMS, n=1)
        return f"{field!r} is not known; {f'did you mean {near[0]}?' if near else 'remove it'}".rstrip("?")
    said = str(mistake["msg"]).removeprefix("Value error, ").rstrip(".")
    return (
        f"{field}: {said}" if mistake["type"] == "value_error" else f"{field} is not valid; {_FORMS[field]}"
    )


def _without_unstorable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("it holds a character that cannot be stored; remove it")
    return text


def _canonical_rate(text: str) -> str:
    return format_rates(parse_rates(text)) if text else ""


def _unlimited_as_none(value: object) -> object:
    return None if value == "unlimited" else value


Text = Annotated[str, AfterValidator(_without_unstorable)]
LookupKey = Annotated[Text, Field(min_length=1, max_length=200)]
Units = Annotated[int, Field(ge=0, le=LARGEST_UNITS)]
Scope = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,62}$")]


class _WrittenPlan(BaseModel):
    """A plan as the file writes it; an unknown field is refused, so that a slip costs nobody money."""

    model_config = ConfigDict(extra="forbid", strict=True)

    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=63)]
    name: Annotated[Text, Field(min_length=1, max_length=200)]
    description: Annotated[Text, Field(max_length=2_000)] = ""
    price: Units = 0
    currency: Annotated[str, Field(pattern=r"^[a-z]{3}$")] = "usd"
    interval: BillingInterval = "month"
    stripe_lookup_key: LookupKey | None = None
    quota_units: Annotated[Units | None, BeforeValidator(_unlimited_as_none)]
    test_quota_units: Units = 1_000
    rate: Annotated[str, Field(max_length=200), AfterValidator(_canonical_rate)] = ""
    scopes: list[Scope] | None = None
    overage: Overage = "hard"
    billed_units: BilledUnits = "none"
    overage_lookup_key: LookupKey | None = None
    overage_price: Units = 0
    overage_per_units: Annotated[int, Field(ge=1, le=LARGEST_UNITS)] = 1
    trial_days: Annotated[int, Field(ge=0, le=_LONGEST_TRIAL_DAYS)] = 0
    trial_quota_units: Units | None = None
    quantity: QuantityRule = "ignore"
    key_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 50

    def as_plan(self, place: int) -> Plan:
        return Plan(
            slug=self.slug,
            name=self.name,
            description=self.description,
            price_cents=self.price,
            currency=self.currency,
            billing_interval=self.interval,
            stripe_lookup_key=self.stripe_lookup_key,
            quota_units=self.quota_units,
            test_quota_units=self.test_quota_units,
            rate=self.rate,
            scopes=None if self.scopes is None else frozenset(self.scopes),
            overage=self.overage,
            billed_units=self.billed_units,
            overage_lookup_key=self.overage_lookup_key,
            overage_price_cents=self.overage_price,
            overage_per_units=self.overage_per_units,
            trial_days=self.trial_days,
            trial_quota_units=self.trial_quota_units,
            quantity_rule=self.quantity,
            key_limit=self.key_limit,
            sort_order=place,
        )
