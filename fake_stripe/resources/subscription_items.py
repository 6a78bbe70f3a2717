"""Items of subscriptions (https://docs.stripe.com/api/subscription_items)."""

from __future__ import annotations

from fake_stripe.errors import invalid, missing
from fake_stripe.listing import page
from fake_stripe.params import Params
from fake_stripe.pricing import plan_of
from fake_stripe.router import Route
from fake_stripe.world import Resource, World

_MOST_ITEMS = 20


def read_new(world: World, subscription: Resource, groups: list[Params]) -> list[Resource]:
    """Return the items of a new subscription; their period is yet to be set."""
    items = [_fresh(world, subscription, group) for group in groups]
    _check(items)
    return items


def read_changes(world: World, subscription: Resource, groups: list[Params]) -> list[Resource]:
    """Return the items after the changes that a request asks for; the subscription keeps its own."""
    items = {item["id"]: dict(item) for item in subscription["items"]["data"]}
    for group in groups:
        name = group.text("id")
        if name is None:
            item = _fresh(world, subscription, group)
            first = subscription["items"]["data"][0]
            item |= {field: first[field] for field in ("current_period_start", "current_period_end")}
            items[item["id"]] = item
        elif name not in items:
            raise missing("subscription item", name, group.path("id"))
        elif group.boolean("deleted"):
            group.ignore("clear_usage")
            del items[name]
        else:
            _change(world, items[name], group)
    _check(list(items.values()))
    return list(items.values())


def list_items(world: World, params: Params) -> Resource:
    """Return the items of a subscription."""
    name = params.required_text("subscription")
    items = world.get("subscription", name, "subscription")["items"]["data"]
    result = page(params, "/v1/subscription_items", list(reversed(items)))
    params.finish()
    return result


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one item."""
    params.finish()
    for subscription in world.all("subscription"):
        for item in subscription["items"]["data"]:
            if item["id"] == name:
                return dict(item)
    raise missing("subscription_item", name)


def _fresh(world: World, subscription: Resource, group: Params) -> Resource:
    item: Resource = {
        "id": world.new_id("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": world.now(),
        "discounts": [],
        "metadata": group.metadata(),
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    _set_price(item, _recurring_price(world, group, group.required_text("price")))
    _set_quantity(item, group)
    return item


def _change(world: World, item: Resource, group: Params) -> None:
    name = group.text("price")
    if name is not None:
        _set_price(item, _recurring_price(world, group, name))
    _set_quantity(item, group)
    item["metadata"] = group.metadata(item["metadata"])


def _recurring_price(world: World, group: Params, name: str) -> Resource:
    price = world.get("price", name, group.path("price"))
    if price["recurring"] is None:
        raise invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with "
            "`type=recurring`.",
            group.path("price"),
        )
    if not price["active"]:
        raise invalid(
            "The price specified is inactive. This field only accepts active prices.", group.path("price")
        )
    return price


def _set_price(item: Resource, price: Resource) -> None:
    item |= {"price": price, "plan": plan_of(price)}


def _set_quantity(item: Resource, group: Params) -> None:
    quantity = group.integer("quantity")
    if item["price"]["recurring"]["usage_type"] == "metered":
        if quantity is not None:
            raise invalid("You can not set the quantity of a metered item.", group.path("quantity"))
        item.pop("quantity", None)
        return
    if quantity is not None and quantity < 0:
        raise invalid("This value must be greater than or equal to 0.", group.path("quantity"))
    item["quantity"] = item.get("quantity", 1) if quantity is None else quantity


def _check(items: list[Resource]) -> None:
    if len(items) > _MOST_ITEMS:
        raise invalid(f"A subscription may have at most {_MOST_ITEMS} items.", "items")
    prices = [item["price"] for item in items]
    if len({price["id"] for price in prices}) < len(prices):
        raise invalid("Cannot add multiple subscription items with the same price.", "items")
    if len({(price["recurring"]["interval"], price["recurring"]["interval_count"]) for price in prices}) > 1:
        raise invalid("All prices on a subscription must have the same `recurring.interval`.", "items")
    if len({price["currency"] for price in prices}) > 1:
        raise invalid("All prices on a subscription must use the same currency.", "items")


ROUTES: tuple[Route, ...] = (
    ("GET", "/v1/subscription_items", list_items),
    ("GET", "/v1/subscription_items/{name}", retrieve),
)
