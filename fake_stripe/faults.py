"""Faults on demand: what goes wrong with deliveries and with answers, how often, and for which.

A fault is `{"kind", "share", "times", "match", "seconds", ...}`: it strikes a `share` (0 to 1) of what it
matches, at most `times` times. Which ones is drawn from the seed, so a run can be repeated.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from fake_stripe.errors import StripeError, invalid
from fake_stripe.params import Params
from fake_stripe.world import Resource, World

OF_DELIVERIES = frozenset(
    {"drop", "duplicate", "delay", "reorder", "stale_version", "wrong_secret", "old_signature"}
)
OF_ANSWERS = frozenset({"error_500", "rate_limit_429", "timeout"})
STALE_VERSION = "2020-08-27"


def read(params: Params) -> Resource:
    """Return the fault that a request describes."""
    kind = params.choice("kind", *sorted(OF_DELIVERIES | OF_ANSWERS))
    if kind is None:
        raise invalid("Missing required param: kind.", "kind", "parameter_missing")
    fault: Resource = {
        "kind": kind,
        "share": _share(params),
        "times": params.integer("times"),
        "match": params.text("match") or "*",
        "seconds": params.integer("seconds") or 0,
        "is_after": bool(params.boolean("after")),
        "api_version": params.text("api_version") or STALE_VERSION,
    }
    params.finish()
    return fault


def struck(world: World, kinds: frozenset[str], subject: str) -> list[Resource]:
    """Return the faults that strike this delivery's event type, or this request's `METHOD path`."""
    return [fault for fault in world.faults if fault["kind"] in kinds and _strikes(world, fault, subject)]


def spoil_delivery(world: World, delivery: Resource) -> None:
    """Do to a fresh delivery what the faults of the moment do."""
    delivery["state"] = "waiting"
    for fault in struck(world, OF_DELIVERIES, delivery["type"]):
        kind = fault["kind"]
        if kind == "drop":
            delivery["state"] = "dropped"
        elif kind == "duplicate":
            delivery["copies"] = delivery.get("copies", 1) + 1
        elif kind == "delay":
            delivery["due_at"] += fault["seconds"]
        elif kind == "reorder":
            delivery["place"] = world.chance()
        elif kind == "stale_version":
            delivery["api_version"] = fault["api_version"]
        elif kind == "wrong_secret":
            delivery["has_wrong_secret"] = True
        else:
            delivery["signed_ago_seconds"] = fault["seconds"] or 3_600


def refusal(fault: Resource) -> StripeError:
    """Return the answer of an API that has a bad moment."""
    if fault["kind"] == "rate_limit_429":
        return StripeError(429, "invalid_request_error", "Too many requests in a row.", code="rate_limit")
    return StripeError(500, "api_error", "An unknown error occurred.")


def _share(params: Params) -> float:
    try:
        share = float(params.text("share") or 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise invalid("Invalid share: must be a number from 0 to 1.", "share")
    return share


def _strikes(world: World, fault: dict[str, Any], subject: str) -> bool:
    if fault["times"] == 0 or not fnmatchcase(subject, fault["match"]):
        return False
    if fault["share"] < 1 and world.chance() >= fault["share"]:
        return False
    if fault["times"] is not None:
        fault["times"] -= 1
    return True
