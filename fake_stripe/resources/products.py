"""Products (https://docs.stripe.com/api/products)."""

from __future__ import annotations

from fake_stripe.errors import invalid
from fake_stripe.listing import matching, page
from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.world import Resource, World

_TEXTS = ("description", "statement_descriptor", "unit_label", "url", "tax_code")


def create(world: World, params: Params) -> Resource:
    """Make a product."""
    product = read(world, params)
    params.finish()
    return keep(world, product)


def keep(world: World, product: Resource) -> Resource:
    """Keep a product that was read, and tell of it."""
    world.add(product)
    world.emit("product.created", product)
    return product


def read(world: World, params: Params) -> Resource:
    """Return the product that a request describes; it is not kept yet."""
    name = params.text("id") or world.new_id("prod")
    if world.find("product", name):
        raise invalid("Product already exists.", "id", "resource_already_exists")
    active = params.boolean("active")
    product: Resource = {
        "id": name,
        "object": "product",
        "active": active is not False,
        "created": world.now(),
        "default_price": None,
        "description": None,
        "images": params.texts("images") or [],
        "livemode": False,
        "marketing_features": [],
        "metadata": params.metadata(),
        "name": params.required_text("name"),
        "package_dimensions": None,
        "shippable": params.boolean("shippable"),
        "statement_descriptor": None,
        "tax_code": None,
        "type": params.choice("type", "good", "service") or "service",
        "unit_label": None,
        "updated": world.now(),
        "url": None,
    }
    return product | {field: params.text(field) for field in _TEXTS}


def update(world: World, params: Params, name: str) -> Resource:
    """Change a product."""
    product = world.get("product", name)
    with world.changing(product, "product.updated"):
        for field in (*_TEXTS, "name"):
            if params.has(field):
                product[field] = params.text(field)
        active = params.boolean("active")
        product["active"] = product["active"] if active is None else active
        if params.has("default_price"):
            price = params.text("default_price")
            product["default_price"] = price and world.get("price", price, "default_price")["id"]
        product["metadata"] = params.metadata(product["metadata"])
        params.finish()
        product["updated"] = world.now()
    return product


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one product."""
    params.finish()
    return world.get("product", name)


def list_products(world: World, params: Params) -> Resource:
    """Return products, newest first."""
    chosen = matching(world.all("product"), active=params.boolean("active"))
    ids = params.texts("ids")
    if ids is not None:
        chosen = [product for product in chosen if product["id"] in ids]
    result = page(params, "/v1/products", chosen)
    params.finish()
    return result


def delete(world: World, params: Params, name: str) -> Resource:
    """Delete a product that has no prices."""
    params.finish()
    product = world.get("product", name)
    if matching(world.all("price"), product=name):
        raise invalid("This product cannot be deleted because it has one or more user-created prices.")
    world.emit("product.deleted", product)
    return world.remove(product)


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/products", create),
    ("GET", "/v1/products", list_products),
    ("GET", "/v1/products/{name}", retrieve),
    ("POST", "/v1/products/{name}", update),
    ("DELETE", "/v1/products/{name}", delete),
)
