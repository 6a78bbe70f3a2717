"""What an operation cost, beside its result, for clients that ask: `"extensions": {"cost": true}`.

It is asked in the request's own `extensions`, so that it works in every client, by GET too, and CORS has no
header to allow. `"cost": "dryRun"` prices an operation: it is checked and counted as one call against the
rate limits, and nothing of it runs or is charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from api_factory.guard import Admission, Ask
from schema.operation import Survey

DRY_RUN: Final = "dryRun"


def asks_for_cost(extensions: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether the cost is asked for, and whether it is all that is; other values ask for nothing."""
    wanted = extensions.get("cost")
    is_dry_run = wanted == DRY_RUN
    return is_dry_run or wanted is True, is_dry_run


def priced(ask: Ask) -> Ask:
    """Return what pricing asks of the guard: the same right, one call, and nothing to run."""
    return replace(ask, calls=(), field_rates=(), weight=1, is_mutation=False, shows_secret=False)


def with_cost(body: bytes, survey: Survey, admission: Admission, maximum: int) -> bytes:
    """Return the body with the cost in its extensions: units requested, charged and allowed, and the limits.

    The body is a JSON object that is not empty. What is charged is what settling the admission would charge
    as it stands; `maximum` is in units.
    """
    cost = {
        "requested": survey.cost,
        "charged": admission.units,
        "maximum": maximum,
        "calls": survey.ask.weight,
        "rateLimits": [
            {
                "policy": each.policy,
                "limit": each.limit,
                "window": each.window_seconds,
                "remaining": each.remaining,
                "resetSeconds": each.reset_seconds,
            }
            for each in admission.windows
        ],
    }
    return b"%b,%b" % (body[:-1], orjson.dumps({"extensions": {"cost": cost}})[1:])
