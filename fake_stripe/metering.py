"""What meters have counted (https://docs.stripe.com/billing/subscriptions/usage-based)."""

from __future__ import annotations

from decimal import Decimal

from fake_stripe.world import Resource, World


def usage(world: World, meter: str, customer: str, start: int, end: int) -> int:
    """Return what a meter counts for a customer from a time up to another, as a whole number."""
    return int(aggregate(world.get("billing.meter", meter), events(world, meter, customer, start, end)))


def events(world: World, meter: str, customer: str, start: int, end: int) -> list[Resource]:
    """Return the events that count, in the order of their time."""
    found = [
        event
        for event in world.all("billing.meter_event")
        if event["_meter"] == meter
        and event["_customer"] == customer
        and not event["_is_cancelled"]
        and start <= event["timestamp"] < end
    ]
    return sorted(found, key=lambda event: int(event["timestamp"]))


def aggregate(meter: Resource, counted: list[Resource]) -> Decimal:
    """Return the sum, the count or the last of the values, as the meter is defined."""
    formula = meter["default_aggregation"]["formula"]
    if formula == "count":
        return Decimal(len(counted))
    values = [Decimal(event["payload"][meter["value_settings"]["event_payload_key"]]) for event in counted]
    if formula == "last":
        return values[-1] if values else Decimal(0)
    return sum(values, Decimal(0))
