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
        "product": _product(world, params),
        "recurring": recurring,
        "tax_behavior": params.choice("tax_behavior", "exclusive", "inclusive", "unspecified")
        or "unspecified",
        "tiers_mode": params.choice("tiers_mode", "graduated", "volume"),
        "transform_quantity": _transform(params),
        "type": "recurring" if recurring else "one_time",
        "_tiers": tiers,
    }
    price |= _unit_amount(params, price["billing_scheme"])
    _give_lookup_key(world, params, price)
    params.finish()
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
        _give_lookup_key(world, params, price)
        params.finish()
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


def _product(world: World, params: Params) -> str:
    data = params.group("product_data")
    if data is None:
        return str(world.get("product", params.required_text("product"), "product")["id"])
    return str(products.create(world, data)["id"])


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
    return {
        "interval": interval,
        "interval_count": group.integer("interval_count") or 1,
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
        raise invalid(f"Invalid decimal: {text}", f"{name}_decimal") from None
    if value < 0:
        raise invalid("This value must be greater than or equal to 0.", name, "parameter_invalid_integer")
    is_whole = value == value.to_integral_value()
    return {name: int(value) if is_whole else None, f"{name}_decimal": format(value.normalize(), "f")}


def _tier(params: Params) -> Resource:
    up_to = params.required_text("up_to")
    decimal, whole = params.text("unit_amount_decimal"), params.integer("unit_amount")
    flat = params.integer("flat_amount")
    return {
        "flat_amount": flat,
        "flat_amount_decimal": None if flat is None else str(flat),
        "up_to": None if up_to == "inf" else int(up_to),
        **_amounts(whole or 0, decimal, "unit_amount"),
    }


def _transform(params: Params) -> Resource | None:
    group = params.group("transform_quantity")
    if group is None:
        return None
    return {"divide_by": group.required_integer("divide_by"), "round": group.choice("round", "down", "up")}


def _give_lookup_key(world: World, params: Params, price: Resource) -> None:
    key, takes = params.text("lookup_key"), params.boolean("transfer_lookup_key")
    if params.unsets("lookup_key"):
        price["lookup_key"] = None
    if key is None:
        return
    for holder in matching(world.all("price"), lookup_key=key):
        if holder is price:
            continue
        if not takes:
            raise invalid(
                f"A price (`{holder['id']}`) already uses that lookup key.",
                "lookup_key",
                "resource_already_exists",
            )
        with world.changing(holder, "price.updated"):
            holder["lookup_key"] = None
    price["lookup_key"] = key


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/prices", create),
    ("GET", "/v1/prices", list_prices),
    ("GET", "/v1/prices/{name}", retrieve),
    ("POST", "/v1/prices/{name}", update),
)
