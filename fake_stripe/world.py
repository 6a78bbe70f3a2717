"""Everything this Stripe knows: objects by kind and id, the clock, and what is set about it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fake_stripe import API_VERSION
from fake_stripe.clock import Clock
from fake_stripe.errors import missing

Resource = dict[str, Any]

DAY_SECONDS = 86_400


@dataclass(slots=True)
class Policy:
    """What Stripe's dashboard sets: when failed invoices are tried again, and what happens in the end."""

    retry_after_days: list[int] = field(default_factory=lambda: [2] * 7)  # 8 tries in 2 weeks
    first_failure: str = "past_due"  # or pause
    final_action: str = "cancel"  # or unpaid, past_due, pause
    finalize_after_seconds: int = 3_600
    holds_deliveries: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """The request that brings about the events of the moment; none for what the clock does."""

    request_id: str | None = None
    idempotency_key: str | None = None


class World:
    """The account: its objects, its clock, its settings. Everything in it is plain data.

    A name that begins with an underscore is this server's own and never leaves it.
    """

    def __init__(self, *, seed: str = "0", clock: Clock | None = None, base_url: str = "") -> None:
        self.seed = seed
        self.clock = clock or Clock()
        self.base_url = base_url
        self.policy = Policy()
        self.cause = Cause()
        self.tables: dict[str, dict[str, Resource]] = {}
        self.replies: dict[str, Resource] = {}
        self.faults: list[Resource] = []
        self.notify: Callable[[], None] = lambda: None
        self.drawn = 0

    def now(self) -> int:
        """Return this account's time in seconds since 1970."""
        return self.clock.now()

    def draw(self) -> bytes:
        """Return 32 bytes that nobody had before; the same ones again in a run with the same seed."""
        self.drawn += 1
        return hashlib.sha256(f"{self.seed}:{self.drawn}".encode()).digest()

    def chance(self) -> float:
        """Return a number from 0 up to 1, the same in every run with the same seed."""
        return int.from_bytes(self.draw()[:7], "big") / 2**56

    def new_id(self, prefix: str) -> str:
        """Return a fresh id such as `cus_9f3c...`."""
        return f"{prefix}_{self.draw().hex()[:24]}"

    def add(self, resource: Resource) -> Resource:
        """Keep a new object under its kind and id."""
        self.tables.setdefault(resource["object"], {})[resource["id"]] = resource
        return resource

    def all(self, kind: str) -> list[Resource]:
        """Return the objects of a kind, oldest first."""
        return list(self.tables.get(kind, {}).values())

    def find(self, kind: str, name: str | None) -> Resource | None:
        """Return the object, None when there is none."""
        return self.tables.get(kind, {}).get(name) if name else None

    def get(self, kind: str, name: str, param: str | None = None) -> Resource:
        """Return the object, or refuse: 404, and 400 when a parameter named it."""
        found = self.find(kind, name)
        if found is None:
            raise missing(_WORDS.get(kind, kind), name, param)
        return found

    def remove(self, resource: Resource) -> Resource:
        """Forget an object, and return what Stripe answers then."""
        del self.tables[resource["object"]][resource["id"]]
        return {"id": resource["id"], "object": resource["object"], "deleted": True}

    def emit(self, kind: str, resource: Resource, previous: Resource | None = None) -> Resource:
        """Write an event with the object as it is now; deliveries are made of it at once."""
        data: Resource = {"object": shown(resource)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Resource = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.cause.request_id, "idempotency_key": self.cause.idempotency_key},
            "type": kind,
        }
        self.add(event)
        self.post(event)
        return event

    def post(self, event: Resource) -> None:
        """Queue an event for every endpoint that wants it."""
        for endpoint in self.all("webhook_endpoint"):
            if endpoint["status"] == "enabled" and wants(endpoint, event["type"]):
                event["pending_webhooks"] += 1
                self.queue(event, endpoint)
        self.notify()

    def queue(self, event: Resource, endpoint: Resource, **fields: Any) -> Resource:
        """Queue one delivery; `fields` are what a fault does to it."""
        return self.add(
            {
                "id": self.new_id("whd"),
                "object": "_delivery",
                "event": event["id"],
                "type": event["type"],
                "endpoint": endpoint["id"],
                "state": "held" if self.policy.holds_deliveries else "fresh",
                "due_at": self.now(),
                "attempts": [],
            }
            | fields
        )

    @contextmanager
    def changing(self, resource: Resource, kind: str) -> Iterator[Resource]:
        """Emit the event when the block changed the object; put it back when the block refuses."""
        before, kept = shown(resource), {name: _kept(value) for name, value in resource.items()}
        try:
            yield resource
        except Exception:
            resource.clear()
            resource |= kept
            raise
        previous = _difference(before, shown(resource))
        if previous:
            self.emit(kind, resource, previous)


_WORDS = {
    "checkout.session": "checkout.session",
    "payment_method": "PaymentMethod",
    "payment_intent": "payment_intent",
}


def wants(endpoint: Resource, kind: str) -> bool:
    """Tell whether an endpoint has asked for events of a type."""
    return "*" in endpoint["enabled_events"] or kind in endpoint["enabled_events"]


def shown(resource: Resource) -> Resource:
    """Return a copy without what is this server's own."""
    return {name: _shown(value) for name, value in resource.items() if not name.startswith("_")}


def _kept(value: Any) -> Any:
    if isinstance(value, dict) and value.get("object") != "price":  # items share the price as it is now
        return {name: _kept(part) for name, part in value.items()}
    return [_kept(part) for part in value] if isinstance(value, list) else value


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return shown(value)
    if isinstance(value, list):
        return [_shown(part) for part in value]
    return copy.copy(value)


def _difference(before: Resource, after: Resource) -> Resource:
    changed: Resource = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        # Lists are told whole, mappings by what changed in them, as Stripe does.
        if isinstance(old, dict) and isinstance(new, dict) and "object" not in old:
            changed[name] = _difference(old, new)
        else:
            changed[name] = old
    return dict(sorted(changed.items()))
