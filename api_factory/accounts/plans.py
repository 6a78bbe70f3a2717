"""The file of plans: TOML, read whole or refused with the sentence that mends it."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api_factory.accounts.inputs import LARGEST_UNITS, is_storable
from api_factory.accounts.model import Plan
from api_factory.errors import ConfigurationError
from api_factory.rates import format_rates, parse_rates

SHIPPED_PLANS: Final = Path(__file__).with_name("plans.toml")


def load_plans(path: Path | None = None) -> tuple[Plan, ...]:
    """Read the plans of a file in its order; without one, the plans that this server ships.

    Raises `ConfigurationError` with a sentence that names the file, the plan and the field.
    """
    path = path or SHIPPED_PLANS
    written = _tables(path)
    plans = tuple(_plan(path, place, table) for place, table in enumerate(written))
    repeated = [slug for slug, count in Counter(plan.slug for plan in plans).items() if count > 1]
    if repeated:
        raise ConfigurationError(f"{path}: two plans have the slug {repeated[0]!r}; rename one.")
    return plans


def _tables(path: Path) -> Sequence[object]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); set API_FACTORY_PLANS_FILE.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from error
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
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the table"
        raise ConfigurationError(f"{path}: {label}: {field}: {first['msg']}.") from None
    return written.as_plan(place)


def _without_unstorable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("it holds a character that cannot be stored")
    return text


def _canonical_rate(text: str) -> str:
    return format_rates(parse_rates(text)) if text else ""


def _unlimited_as_none(value: object) -> object:
    return None if value == "unlimited" else value


Text = Annotated[str, AfterValidator(_without_unstorable)]
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
    interval: Literal["month", "year"] = "month"
    stripe_lookup_key: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    quota_units: Annotated[Units | None, BeforeValidator(_unlimited_as_none)]
    test_quota_units: Units = 1_000
    rate: Annotated[str, Field(max_length=200), AfterValidator(_canonical_rate)] = ""
    scopes: list[Scope] | None = None
    overage: Literal["hard", "soft"] = "hard"
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
            key_limit=self.key_limit,
            sort_order=place,
        )
