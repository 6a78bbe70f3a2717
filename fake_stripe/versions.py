"""Events as older API versions shape them: an endpoint gets the shapes of its own version.

https://docs.stripe.com/changelog: basil (2025-03-31) moved a subscription's period to its items and an
invoice's subscription under `parent`.
"""

from __future__ import annotations

import copy

from fake_stripe import API_VERSION
from fake_stripe.world import Resource

BASIL = "2025-03-31"


def rendered(event: Resource, version: str) -> Resource:
    """Return a copy of an event in the shape of a version; before basil in the shape before basil."""
    older = copy.deepcopy(event)
    older["api_version"] = version
    if version == API_VERSION or version[: len(BASIL)] >= BASIL:
        return older
    for resource in (older["data"]["object"], older["data"].get("previous_attributes")):
        if resource is not None:
            _age(resource, older["data"]["object"]["object"])
    return older


def _age(resource: Resource, kind: str) -> None:
    if kind == "subscription":
        _age_subscription(resource)
    elif kind == "invoice":
        _age_invoice(resource)


def _age_subscription(resource: Resource) -> None:
    items = resource.get("items", {}).get("data", [])
    for item in items:
        for name in ("current_period_start", "current_period_end"):
            resource[name] = item.pop(name)
    if items:
        resource["plan"] = items[0]["plan"]
    for name in ("billing_mode", "billing_schedules", "status_details"):
        resource.pop(name, None)


def _age_invoice(resource: Resource) -> None:
    parent = resource.pop("parent", None) or {}
    details = parent.get("subscription_details") or {}
    if details:
        resource["subscription"] = details["subscription"]
        resource["subscription_details"] = {"metadata": details["metadata"]}
    if "status" in resource:
        resource["paid"] = resource["status"] == "paid"
    for line in resource.get("lines", {}).get("data", []):
        _age_line(line)


def _age_line(line: Resource) -> None:
    details = line.pop("parent")["subscription_item_details"]
    line["price"] = {"id": line.pop("pricing")["price_details"]["price"], "object": "price"}
    line |= {
        "proration": details["proration"],
        "subscription_item": details["subscription_item"],
        "type": "subscription",
    }
