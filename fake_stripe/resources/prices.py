"""Prices (https://docs.stripe.com/api/prices)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from fake_stripe.errors import invalid
from fake_stripe.listing import is_within, matching, page
from fake_stripe.params import Params
from fake_stripe.resources import products
from fake_stripe.router import Route
from fake_stripe.world import Resource, World

_MOST_LOOKUP_KEYS = 10
_MOST_INTERVALS = {"day": 1_095, "week": 156, "month": 36, "year": 3}
_LONGEST_NUMBER = 30


def create(world: World, params: Params) -> Resource:
    """Make a price; `transfer_lookup_key` takes the key from the price that has it."""
    recurring = _recurring(world, params)
    tiers = [_tier(tier) for tier in params.groups("tiers")]
    price: Resource = {
        "id": world.new_id("price"),
        "object": "price",
        "active": params.boolean("active") is not False,
        "billing_scheme": params.choice("billing_scheme", "per_unit", "tiered") or "per_unit",
        "created": world.now(),
        "currency": params.required_text("currency").lower(),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": params.metadata(),
        "nickname": params.text("nickname"),
        "recurring": recurring,
        "tax_behavior": params.choice("tax_behavior", "exclusive", "inclusive", "unspecified")
        or "unspecified",
        "tiers_mode": params.choice("tiers_mode", "graduated", "volume"),
        "transform_quantity": _transform(params),
        "type": "recurring" if recurring else "one_time",
        "_tiers": tiers,
    }
    price |= _unit_amount(params, price["billing_scheme"])
    holders = _take_lookup_key(world, params, price)
    product = _product(world, params)
    price["product"] = product["id"]
    params.finish()
    if world.find("product", product["id"]) is None:
        products.keep(world, product)
    _hand_on(world, holders)
    world.add(price)
    world.emit("price.created", price)
    return price


def update(world: World, params: Params, name: str) -> Resource:
    """Change what may change of a price; its amount may not."""
    price = world.get("price", name)
    with world.changing(price, "price.updated"):
        active = params.boolean("active")
        price["active"] = price["active"] if active is None else active
        if params.has("nickname"):
            price["nickname"] = params.text("nickname")
        price["metadata"] = params.metadata(price["metadata"])
        holders = _take_lookup_key(world, params, price)
        params.finish()
        _hand_on(world, holders)
    return price


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one price."""
    params.finish()
    return world.get("price", name)


def list_prices(world: World, params: Params) -> Resource:
    """Return prices, newest first."""
    chosen = matching(
        world.all("price"),
        active=params.boolean("active"),
        currency=params.text("currency"),
        product=params.text("product"),
        type=params.choice("type", "one_time", "recurring"),
    )
    keys = params.texts("lookup_keys")
    if keys is not None:
        if len(keys) > _MOST_LOOKUP_KEYS:
            raise invalid("You may only specify up to 10 lookup_keys.", "lookup_keys")
        chosen = [price for price in chosen if price["lookup_key"] in keys]
    was_created = is_within(params, "created")
    result = page(params, "/v1/prices", [price for price in chosen if was_created(price["created"])])
    params.finish()
    return result


def _product(world: World, params: Params) -> Resource:
    data = params.group("product_data")
    if data is None:
        return world.get("product", params.required_text("product"), "product")
    return products.read(world, data)


def _recurring(world: World, params: Params) -> Resource | None:
    group = params.group("recurring")
    if group is None:
        return None
    interval = group.choice("interval", "day", "week", "month", "year")
    if interval is None:
        raise invalid(
            "Missing required param: recurring[interval].", "recurring[interval]", "parameter_missing"
        )
    usage = group.choice("usage_type", "licensed", "metered") or "licensed"
    meter = group.text("meter")
    if usage == "metered" and meter is None:
        raise invalid("Metered prices must be backed by a meter.", "recurring[meter]")
    if meter is not None:
        world.get("billing.meter", meter, "recurring[meter]")
    count = group.integer("interval_count") or 1
    if not 1 <= count <= _MOST_INTERVALS[interval]:
        raise invalid("Intervals may not be longer than three years.", "recurring[interval_count]")
    return {
        "interval": interval,
        "interval_count": count,
        "meter": meter,
        "trial_period_days": None,
        "usage_type": usage,
    }


def _unit_amount(params: Params, scheme: str) -> Resource:
    if scheme == "tiered":
        return {"unit_amount": None, "unit_amount_decimal": None}
    decimal = params.text("unit_amount_decimal")
    whole = params.integer("unit_amount") if decimal is None else None
    if decimal is None and whole is None:
        raise invalid("You must specify either `unit_amount` or `unit_amount_decimal`.", "unit_amount")
    return _amounts(whole, decimal, "unit_amount")


def _amounts(whole: int | None, decimal: str | None, name: str) -> Resource:
    text = str(whole) if decimal is None else decimal
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value.adjusted()) > _LONGEST_NUMBER:
        raise invalid(f"Invalid decimal: {text}", f"{name}_decimal")
    if value < 0:
        raise invalid("This value must be greater than or equal to 0.", name, "parameter_invalid_integer")
    is_whole = value == value.to_integral_value()
    return {name: int(value) if is_whole else None, f"{name}_decimal": format(value.normalize(), "f")}


def _tier(params: Params) -> Resource:
    up_to = None if params.required_text("up_to") == "inf" else params.integer("up_to")
    decimal, whole = params.text("unit_amount_decimal"), params.integer("unit_amount")
    flat = params.integer("flat_amount")
    return {
        "flat_amount": flat,
        "flat_amount_decimal": None if flat is None else str(flat),
        "up_to": up_to,
        **_amounts(whole or 0, decimal, "unit_amount"),
    }


def _transform(params: Params) -> Resource | None:
    group = params.group("transform_quantity")
    if group is None:
        return None
    divide_by = group.required_integer("divide_by")
    if divide_by < 1:
        raise invalid("This value must be greater than or equal to 1.", "transform_quantity[divide_by]")
    return {"divide_by": divide_by, "round": group.choice("round", "down", "up")}


def _take_lookup_key(world: World, params: Params, price: Resource) -> list[Resource]:
    """Give the price its key; return the prices that have it to hand on, once nothing was refused."""
    key, takes = params.text("lookup_key"), params.boolean("transfer_lookup_key")
    if params.has("lookup_key"):
        price["lookup_key"] = key
    holders = matching(world.all("price"), lookup_key=key) if key is not None else []
    others = [holder for holder in holders if holder["id"] != price["id"]]
    if others and not takes:
        raise invalid(
            f"A price (`{others[0]['id']}`) already uses that lookup key.",
            "lookup_key",
            "resource_already_exists",
        )
    return others


def _hand_on(world: World, holders: list[Resource]) -> None:
    for holder in holders:
        with world.changing(holder, "price.updated"):
            holder["lookup_key"] = None


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/prices", create),
    ("GET", "/v1/prices", list_prices),
    ("GET", "/v1/prices/{name}", retrieve),
    ("POST", "/v1/prices/{name}", update),
)
