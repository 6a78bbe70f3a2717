"""Brings Stripe to what the plans need: meter, products, prices, portal, webhook endpoint.

Everything is found by a name of ours (lookup key, event name, metadata, address), so a second run finds
what the first one made and changes nothing. Whatever a price says can never be changed at Stripe: another
price takes over its lookup key, and whoever has the old one keeps it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

from api_factory.accounts import Plan
from api_factory.billing.events import HANDLED
from api_factory.billing.meters import CUSTOMER_KEY, METER, VALUE_KEY
from api_factory.billing.stripe import API_VERSION, Client, Stripe
from api_factory.billing.wares import UNIT_LABEL, Ware, bills_units, wares_of

OURS: Final = "api_factory"
"""The metadata by which setup knows what it made; its value says what for."""
PORTAL: Final = "portal"
ENDPOINT: Final = "webhook"
_LOOKUP_KEYS_AT_ONCE: Final = 10
_PAGE: Final = 100

Verb = Literal["keep", "create", "update", "replace", "delete", "skip"]
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing at Stripe: what setup does, or would do, with it, and why."""

    verb: Verb
    kind: str
    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupWish:
    """What to set up: the plans on offer, where events are to go, where the portal leads back to."""

    plans: tuple[Plan, ...]
    webhook_url: str | None
    return_url: str | None


@dataclass(frozen=True, slots=True)
class SetupReport:
    """What was done, or would be; the secret of a new endpoint, which Stripe shows this once."""

    steps: tuple[Step, ...]
    webhook_secret: str | None = field(repr=False, default=None)

    @property
    def has_changes(self) -> bool:
        """Tell whether anything differs from what the plans need."""
        return any(step.verb not in ("keep", "skip") for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtStripe:
    """What Stripe holds of what the plans need."""

    prices: Mapping[str, Json]
    """By lookup key."""
    products: Mapping[str, Json]
    meter: Json | None
    portal: Json | None
    endpoints: tuple[Json, ...]
    """Those that lead to the wished address or were made here, the newest first."""


async def look(stripe: Stripe, wish: SetupWish) -> AtStripe:
    """Read what Stripe holds. Raises as `Stripe.call` does."""
    wares = wares_of(wish.plans)
    prices = await _prices(stripe, [ware.lookup_key for ware in wares])
    ids = {ware.product_id for ware in wares} | {str(price["product"]) for price in prices.values()}
    products = await _products(stripe, sorted(ids))
    return AtStripe(
        prices=prices,
        products={product["id"]: product for product in products},
        meter=await _meter(stripe),
        portal=await find_portal(stripe),
        endpoints=await _endpoints(stripe, wish.webhook_url),
    )


async def find_portal(stripe: Stripe) -> Json | None:
    """Return the configuration of the portal that setup made, or None. Raises as `Stripe.call` does."""
    found = await _list(
        stripe, lambda client, wanted: client.v1.billing_portal.configurations.list_async(wanted), active=True
    )
    return next((each for each in found if each["metadata"].get(OURS) == PORTAL), None)


class Setup:
    """One run: it looks, says what differs and, when asked, changes it."""

    def __init__(self, stripe: Stripe, wish: SetupWish, *, apply: bool) -> None:
        """Without `apply` nothing is changed."""
        self._stripe = stripe
        self._wish = wish
        self._apply = apply
        self._steps: list[Step] = []

    async def run(self) -> SetupReport:
        """Go through all there is. A run that was cut short is finished by the next one."""
        found = await look(self._stripe, self._wish)
        meter_id = await self._set_meter(found)
        price_ids = []
        for ware in wares_of(self._wish.plans):
            product_id = await self._set_product(ware, found)
            price_ids.append((ware, product_id, await self._set_price(ware, product_id, found, meter_id)))
        await self._set_portal(found, price_ids)
        secret = await self._set_endpoint(found)
        return SetupReport(tuple(self._steps), secret)

    async def _set_meter(self, found: AtStripe) -> str | None:
        if not bills_units(self._wish.plans):
            return None
        if found.meter is not None:
            self._note("keep", "meter", METER, "sums the units of a customer")
            return str(found.meter["id"])
        wanted: Any = {
            "display_name": "API units",
            "event_name": METER,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": CUSTOMER_KEY},
            "value_settings": {"event_payload_key": VALUE_KEY},
        }
        made = await self._do(
            Step("create", "meter", METER, "sums the units of a customer"),
            lambda client: client.v1.billing.meters.create_async(wanted, _once("meter", METER)),
        )
        return None if made is None else str(made["id"])

    async def _set_product(self, ware: Ware, found: AtStripe) -> str:
        price = found.prices.get(ware.lookup_key)
        product_id = ware.product_id if price is None else str(price["product"])
        product = found.products.get(product_id)
        wanted: Any = {"name": ware.name, "metadata": {**ware.metadata}, "unit_label": UNIT_LABEL}
        if ware.description:
            wanted["description"] = ware.description
        if product is None:
            await self._do(
                Step("create", "product", product_id, ware.name),
                lambda client: client.v1.products.create_async(wanted | {"id": product_id}),
            )
            return product_id
        is_ours = any(product["metadata"].get(name) == slug for name, slug in ware.metadata.items())
        changed = [
            name
            for name, value in wanted.items()
            if is_ours and name != "metadata" and product[name] != value
        ]
        if not product["active"]:
            changed.append("active")
        if not changed:
            self._note(
                "keep", "product", product_id, ware.name if is_ours else f"{product['name']}, as it is"
            )
            return product_id
        changes: Any = {name: wanted.get(name, True) for name in changed}
        await self._do(
            Step("update", "product", product_id, ", ".join(changed)),
            lambda client: client.v1.products.update_async(product_id, changes),
        )
        return product_id

    async def _set_price(
        self, ware: Ware, product_id: str, found: AtStripe, meter_id: str | None
    ) -> str | None:
        price = found.prices.get(ware.lookup_key)
        differences = [] if price is None else ware.differences(price, meter_id)
        if price is not None and not differences:
            self._note("keep", "price", ware.lookup_key, ware.price_text)
            return str(price["id"])
        if price is None:
            step = Step("create", "price", ware.lookup_key, ware.price_text)
        else:
            detail = f"{ware.price_text} ({', '.join(differences)}); whoever has the old one keeps it"
            step = Step("replace", "price", ware.lookup_key, detail)
        recurring = {"interval": ware.interval, "usage_type": "metered" if ware.is_metered else "licensed"}
        wanted: Any = {
            "product": product_id,
            "currency": ware.currency,
            "unit_amount_decimal": f"{ware.unit_amount:f}",
            "recurring": recurring | ({"meter": meter_id} if ware.is_metered else {}),
            "lookup_key": ware.lookup_key,
            "transfer_lookup_key": True,
            "metadata": {**ware.metadata},
        }
        # The price that is replaced is part of the key: to go back to an earlier amount makes a price anew.
        once = _once("price", wanted, None if price is None else price["id"])
        made = await self._do(step, lambda client: client.v1.prices.create_async(wanted, once))
        return None if made is None else str(made["id"])

    async def _set_portal(self, found: AtStripe, prices: Sequence[tuple[Ware, str, str | None]]) -> None:
        features = _portal_features(self._wish.plans, prices)
        wanted: Any = {"features": features, "metadata": {OURS: PORTAL}}
        if self._wish.return_url is not None:
            wanted["default_return_url"] = self._wish.return_url
        if found.portal is None:
            await self._do(
                Step("create", "portal", "configuration", "payment method, invoices, cancel, switch of plan"),
                lambda client: client.v1.billing_portal.configurations.create_async(wanted),
            )
            return
        portal_id = str(found.portal["id"])
        is_same = _holds(found.portal["features"], features) and found.portal["default_return_url"] == (
            self._wish.return_url or found.portal["default_return_url"]
        )
        if is_same:
            self._note("keep", "portal", portal_id, "as the plans need it")
            return
        await self._do(
            Step("update", "portal", portal_id, "what customers may do there, or which plans they may take"),
            lambda client: client.v1.billing_portal.configurations.update_async(portal_id, wanted),
        )

    async def _set_endpoint(self, found: AtStripe) -> str | None:
        url = self._wish.webhook_url
        if url is None:
            self._note("skip", "webhook endpoint", "-", "set API_FACTORY_PUBLIC_URL, or give --webhook-url")
            return None
        here = [each for each in found.endpoints if each["url"] == url]
        current = next((each for each in here if each["api_version"] == API_VERSION), None)
        secret = None
        if current is None:
            secret = await self._create_endpoint(url, replaced=bool(here))
        else:
            await self._update_endpoint(current)
            # Only once one of the right version exists, and its secret was shown, the others go.
            for other in here:
                if other is not current and other["metadata"].get(OURS) == ENDPOINT:
                    await self._delete_endpoint(other)
        return secret

    async def _create_endpoint(self, url: str, *, replaced: bool) -> str | None:
        wanted: Any = {
            "url": url,
            "api_version": API_VERSION,
            "enabled_events": [*HANDLED],
            "metadata": {OURS: ENDPOINT},
            "description": "API-Factory",
        }
        detail = f"API version {API_VERSION}, {len(HANDLED)} kinds of events"
        if replaced:
            detail += "; the one of another version stays until the next run"
        step = Step("replace" if replaced else "create", "webhook endpoint", url, detail)
        made = await self._do(step, lambda client: client.v1.webhook_endpoints.create_async(wanted))
        return None if made is None else made["secret"]

    async def _update_endpoint(self, current: Json) -> None:
        missing = [] if "*" in current["enabled_events"] else [*set(HANDLED) - set(current["enabled_events"])]
        is_off = current["status"] != "enabled"
        if not missing and not is_off:
            self._note("keep", "webhook endpoint", current["url"], f"API version {current['api_version']}")
            return
        wanted: Any = {"enabled_events": sorted({*current["enabled_events"], *HANDLED}), "disabled": False}
        detail = "; ".join(
            [
                *(["it is disabled"] if is_off else []),
                *([f"lacks {', '.join(sorted(missing))}"] if missing else []),
            ]
        )
        await self._do(
            Step("update", "webhook endpoint", current["url"], detail),
            lambda client: client.v1.webhook_endpoints.update_async(current["id"], wanted),
        )

    async def _delete_endpoint(self, other: Json) -> None:
        await self._do(
            Step("delete", "webhook endpoint", other["id"], f"API version {other['api_version']}"),
            lambda client: client.v1.webhook_endpoints.delete_async(other["id"]),
        )

    def _note(self, verb: Verb, kind: str, name: str, detail: str) -> None:
        self._steps.append(Step(verb, kind, name, detail))

    async def _do(self, step: Step, work: Callable[[Client], Awaitable[Any]]) -> dict[str, Any] | None:
        self._steps.append(step)
        if not self._apply:
            return None
        made: dict[str, Any] = (await self._stripe.call(work)).to_dict(for_json=True)
        return made


def _portal_features(plans: Sequence[Plan], prices: Sequence[tuple[Ware, str, str | None]]) -> dict[str, Any]:
    """Return what customers may do; they switch between plans that have one price.

    https://docs.stripe.com/customer-management: a subscription of several items is not changed there.
    """
    with_units = {plan.stripe_lookup_key for plan in plans if plan.billed_units != "none"}
    switchable = [
        {"product": product_id, "prices": [price_id]}
        for ware, product_id, price_id in prices
        if not ware.is_metered and ware.lookup_key not in with_units and price_id is not None
    ]
    features: dict[str, Any] = {
        "customer_update": {"enabled": True, "allowed_updates": ["address", "name", "tax_id"]},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
        "subscription_update": {"enabled": False},
    }
    if len(switchable) > 1:
        features["subscription_update"] = {
            "enabled": True,
            "default_allowed_updates": ["price"],
            "products": switchable,
            "proration_behavior": "always_invoice",
            # More at once, less at the end of what is paid for.
            "schedule_at_period_end": {
                "conditions": [{"type": "decreasing_item_amount"}, {"type": "shortening_interval"}]
            },
        }
    return features


def _holds(found: Any, wanted: Any) -> bool:
    """Tell whether all that is wanted stands in what was found, lists in any order."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_holds(found.get(name), wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        same_length = isinstance(found, list) and len(found) == len(wanted)
        return same_length and all(any(_holds(one, each) for one in found) for each in wanted)
    return bool(found == wanted)


def _once(*parts: object) -> Any:
    """Return an idempotency key: two runs at once make one thing."""
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return {"idempotency_key": f"api-factory-setup-{digest[:40]}"}


async def _prices(stripe: Stripe, keys: Sequence[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for first in range(0, len(keys), _LOOKUP_KEYS_AT_ONCE):
        wanted: Any = {"lookup_keys": [*keys[first : first + _LOOKUP_KEYS_AT_ONCE]], "limit": _PAGE}
        page = await stripe.call(partial(_ask_prices, wanted))
        found |= {price.lookup_key: price.to_dict(for_json=True) for price in page.data if price.lookup_key}
    return found


async def _products(stripe: Stripe, ids: Sequence[str]) -> list[dict[str, Any]]:
    # Without an id the list would be of all products.
    if not ids:
        return []
    return await _list(stripe, lambda client, wanted: client.v1.products.list_async(wanted), ids=[*ids])


async def _meter(stripe: Stripe) -> Json | None:
    found = await _list(
        stripe, lambda client, wanted: client.v1.billing.meters.list_async(wanted), status="active"
    )
    return next((meter for meter in found if meter["event_name"] == METER), None)


async def _endpoints(stripe: Stripe, url: str | None) -> tuple[Json, ...]:
    found = await _list(stripe, lambda client, wanted: client.v1.webhook_endpoints.list_async(wanted))
    return tuple(each for each in found if each["url"] == url or each["metadata"].get(OURS) == ENDPOINT)


async def _list(
    stripe: Stripe, ask: Callable[[Client, Any], Awaitable[Any]], **wanted: object
) -> list[dict[str, Any]]:
    """Return every page of a list."""
    asked: dict[str, object] = {"limit": _PAGE, **wanted}
    found: list[dict[str, Any]] = []
    while True:
        page = await stripe.call(partial(_ask, ask, dict(asked)))
        found += [each.to_dict(for_json=True) for each in page.data]
        if not page.has_more or not page.data:
            return found
        asked["starting_after"] = page.data[-1].id


async def _ask(ask: Callable[[Client, Any], Awaitable[Any]], wanted: Any, client: Client) -> Any:
    return await ask(client, wanted)


async def _ask_prices(wanted: Any, client: Client) -> Any:
    return await client.v1.prices.list_async(wanted)
