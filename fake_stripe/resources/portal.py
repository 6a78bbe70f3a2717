"""The customer portal (https://docs.stripe.com/api/customer_portal): its sessions and configurations."""

from __future__ import annotations

import copy

from fake_stripe.errors import invalid
from fake_stripe.listing import matching, page
from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.world import Resource, World

_REASONS = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
_PRORATIONS = ("always_invoice", "create_prorations", "none")
_UPDATES = ("address", "email", "name", "phone", "shipping", "tax_id")
_FLOWS = ("customer_update", "payment_method_update", "subscription_cancel", "subscription_update")
_FEATURES: Resource = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "feedback_options": None, "options": []},
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": [],
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}


def create_configuration(world: World, params: Params) -> Resource:
    """Say what customers may do in the portal; the first configuration is the default one."""
    configuration: Resource = {
        "id": world.new_id("bpc"),
        "object": "billing_portal.configuration",
        "active": True,
        "application": None,
        "business_profile": {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
        "created": world.now(),
        "default_return_url": None,
        "features": copy.deepcopy(_FEATURES),
        "is_default": not world.all("billing_portal.configuration"),
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": None,
        "updated": world.now(),
    }
    if not params.has("features"):
        raise invalid("Missing required param: features.", "features", "parameter_missing")
    _fill(world, params, configuration)
    world.add(configuration)
    world.emit("billing_portal.configuration.created", configuration)
    return configuration


def update_configuration(world: World, params: Params, name: str) -> Resource:
    """Change what customers may do."""
    configuration = world.get("billing_portal.configuration", name)
    draft = copy.deepcopy(configuration)
    _fill(world, params, draft)
    with world.changing(configuration, "billing_portal.configuration.updated"):
        configuration |= draft | {"updated": world.now()}
    return configuration


def retrieve_configuration(world: World, params: Params, name: str) -> Resource:
    """Return one configuration."""
    params.finish()
    return world.get("billing_portal.configuration", name)


def list_configurations(world: World, params: Params) -> Resource:
    """Return configurations, newest first."""
    chosen = matching(
        world.all("billing_portal.configuration"),
        active=params.boolean("active"),
        is_default=params.boolean("is_default"),
    )
    result = page(params, "/v1/billing_portal/configurations", chosen)
    params.finish()
    return result


def create_session(world: World, params: Params) -> Resource:
    """Open the portal for a customer; its `url` is a page of this server."""
    customer = world.get("customer", params.required_text("customer"), "customer")
    wanted = params.text("configuration")
    configuration = (
        world.get("billing_portal.configuration", wanted, "configuration") if wanted else _default(world)
    )
    name = world.new_id("bps")
    session: Resource = {
        "id": name,
        "object": "billing_portal.session",
        "configuration": configuration["id"],
        "created": world.now(),
        "customer": customer["id"],
        "customer_account": None,
        "flow": _flow(params),
        "livemode": False,
        "locale": params.text("locale"),
        "on_behalf_of": None,
        "return_url": params.text("return_url") or configuration["default_return_url"],
        "url": f"{world.base_url}/p/session/{name}",
    }
    params.finish()
    world.add(session)
    world.emit("billing_portal.session.created", session)
    return session


def _default(world: World) -> Resource:
    for configuration in world.all("billing_portal.configuration"):
        if configuration["is_default"]:
            return configuration
    raise invalid(
        "No configuration provided and your test mode default configuration has not been created. Provide a "
        "configuration or create your default by saving your customer portal settings in test mode."
    )


def _flow(params: Params) -> Resource | None:
    group = params.group("flow_data")
    if group is None:
        return None
    kind = group.choice("type", *_FLOWS)
    flow: Resource = {
        "after_completion": {"hosted_confirmation": None, "redirect": None, "type": "portal_homepage"},
        "subscription_cancel": None,
        "subscription_update": None,
        "subscription_update_confirm": None,
        "type": kind,
    }
    for name in ("subscription_cancel", "subscription_update"):
        part = group.group(name)
        if part is not None:
            flow[name] = {"subscription": part.required_text("subscription")}
            if name == "subscription_cancel":
                flow[name]["retention"] = None
    group.ignore("after_completion")
    return flow


def _fill(world: World, params: Params, configuration: Resource) -> None:
    profile = params.group("business_profile")
    if profile is not None:
        for field in configuration["business_profile"]:
            configuration["business_profile"][field] = profile.text(field)
    if params.has("default_return_url"):
        configuration["default_return_url"] = params.text("default_return_url")
    if params.has("name"):
        configuration["name"] = params.text("name")
    active = params.boolean("active")
    configuration["active"] = configuration["active"] if active is None else active
    configuration["metadata"] = params.metadata(configuration["metadata"])
    login = params.group("login_page")
    if login is not None:
        login.boolean("enabled")
    features = params.group("features")
    if features is not None:
        _fill_features(world, features, configuration["features"])
    params.finish()


def _fill_features(world: World, params: Params, features: Resource) -> None:
    for name in features:
        group = params.group(name)
        if group is None:
            continue
        enabled = group.boolean("enabled")
        features[name]["enabled"] = features[name]["enabled"] if enabled is None else enabled
        if name == "customer_update":
            features[name]["allowed_updates"] = _each_of(group, "allowed_updates", _UPDATES)
        elif name == "subscription_cancel":
            _fill_cancel(group, features[name])
        elif name == "subscription_update":
            _fill_update(world, group, features[name])
        elif name == "payment_method_update":
            group.ignore("payment_method_configuration")


def _fill_cancel(params: Params, feature: Resource) -> None:
    feature["mode"] = params.choice("mode", "at_period_end", "immediately") or feature["mode"]
    proration = params.choice("proration_behavior", *_PRORATIONS)
    feature["proration_behavior"] = proration or feature["proration_behavior"]
    reason = params.group("cancellation_reason")
    if reason is not None:
        feature["cancellation_reason"]["enabled"] = bool(reason.boolean("enabled"))
        feature["cancellation_reason"]["options"] = _each_of(reason, "options", _REASONS)


def _fill_update(world: World, params: Params, feature: Resource) -> None:
    if params.has("default_allowed_updates"):
        updates = _each_of(params, "default_allowed_updates", ("price", "promotion_code", "quantity"))
        feature["default_allowed_updates"] = updates
    proration = params.choice("proration_behavior", *_PRORATIONS)
    feature["proration_behavior"] = proration or feature["proration_behavior"]
    if params.has("products"):
        feature["products"] = [_product(world, group) for group in params.groups("products")]
    schedule = params.group("schedule_at_period_end")
    if schedule is not None:
        kinds = [group.required_text("type") for group in schedule.groups("conditions")]
        feature["schedule_at_period_end"]["conditions"] = [{"type": kind} for kind in kinds]
    trial = params.choice("trial_update_behavior", "continue_trial", "end_trial")
    feature["trial_update_behavior"] = trial or feature["trial_update_behavior"]
    anchor = params.choice("billing_cycle_anchor", "now", "unchanged")
    feature["billing_cycle_anchor"] = anchor or feature["billing_cycle_anchor"]


def _product(world: World, params: Params) -> Resource:
    product = world.get("product", params.required_text("product"), params.path("product"))
    prices = [world.get("price", name, params.path("prices"))["id"] for name in params.texts("prices") or []]
    params.ignore("adjustable_quantity")
    quantity = {"enabled": False, "maximum": None, "minimum": 1}
    return {"adjustable_quantity": quantity, "prices": prices, "product": product["id"]}


def _each_of(params: Params, name: str, options: tuple[str, ...]) -> list[str]:
    chosen = params.texts(name) or []
    for one in chosen:
        if one not in options:
            raise invalid(f"Invalid {name}: must be one of {', '.join(options)}", params.path(name))
    return chosen


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/billing_portal/configurations", create_configuration),
    ("GET", "/v1/billing_portal/configurations", list_configurations),
    ("GET", "/v1/billing_portal/configurations/{name}", retrieve_configuration),
    ("POST", "/v1/billing_portal/configurations/{name}", update_configuration),
    ("POST", "/v1/billing_portal/sessions", create_session),
)
