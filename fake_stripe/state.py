"""The state file: the whole account as JSON, so that a restart forgets nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fake_stripe.clock import Clock
from fake_stripe.world import Policy, World

_PLAIN = ("seed", "tables", "replies", "faults", "drawn")


def save(world: World, path: str) -> None:
    """Write the account beside its place, then put it there: a reader never sees half of it."""
    values: dict[str, Any] = {name: getattr(world, name) for name in _PLAIN}
    values["base_url"] = world.base_url
    values["clock"] = world.clock.to_json()
    values["policy"] = {name: getattr(world.policy, name) for name in Policy.__slots__}
    draft = Path(f"{path}.{os.getpid()}")
    draft.touch(0o600)
    draft.write_text(json.dumps(values))
    draft.replace(path)


def load(world: World, path: str) -> None:
    """Read the account back; a file that is not there is an empty account."""
    file = Path(path)
    if not file.exists():
        return
    text = file.read_text()
    # Pages that it has told the addresses of are at the new one now.
    values = json.loads(text.replace(json.loads(text)["base_url"], world.base_url))
    for name in _PLAIN:
        setattr(world, name, values[name])
    world.clock = Clock(**values["clock"])
    world.policy = Policy(**values["policy"])
    _relink_prices(world)


def _relink_prices(world: World) -> None:
    # In memory an item holds the price itself, so that a changed lookup key shows at once.
    prices = world.tables.get("price", {})
    holders = world.all("subscription") + [one["_subscription"] for one in world.all("checkout.session")]
    for holder in holders:
        for item in holder["items"]["data"]:
            item["price"] = prices[item["price"]["id"]]
