"""Meters and what they count (https://docs.stripe.com/api/billing/meter)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from fake_stripe.errors import StripeError, invalid
from fake_stripe.listing import matching, page
from fake_stripe.metering import aggregate, events
from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.world import DAY_SECONDS, Resource, World

IDENTIFIER_WINDOW_SECONDS = DAY_SECONDS
"""How long an identifier keeps a second event out: Stripe says "at least 24 hours", this is the least."""

_OLDEST_SECONDS = 35 * DAY_SECONDS
_FUTURE_SECONDS = 5 * 60
_MOST_IDENTIFIER_CHARACTERS = 100
_MOST_DIGITS = 15
_MOST_WINDOWS = 10_000
_GROUPINGS = {"day": DAY_SECONDS, "hour": 3_600}


def create(world: World, params: Params) -> Resource:
    """Make a meter; the name of its events is its own among the active ones."""
    event_name = params.required_text("event_name")
    if matching(world.all("billing.meter"), event_name=event_name, status="active"):
        raise invalid(
            f"There is already an active meter with the event name {event_name}.",
            "event_name",
            "resource_already_exists",
        )
    aggregation, mapping, values = (
        params.group("default_aggregation"),
        params.group("customer_mapping"),
        params.group("value_settings"),
    )
    if aggregation is None:
        raise invalid(
            "Missing required param: default_aggregation.", "default_aggregation", "parameter_missing"
        )
    meter: Resource = {
        "id": world.new_id("mtr"),
        "object": "billing.meter",
        "created": world.now(),
        "customer_mapping": {
            "event_payload_key": (mapping and mapping.text("event_payload_key")) or "stripe_customer_id",
            "type": "by_id",
        },
        "default_aggregation": {"formula": aggregation.choice("formula", "count", "last", "sum")},
        "display_name": params.required_text("display_name"),
        "event_name": event_name,
        "event_time_window": params.choice("event_time_window", "day", "hour"),
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": world.now(),
        "value_settings": {"event_payload_key": (values and values.text("event_payload_key")) or "value"},
    }
    if mapping is not None:
        mapping.choice("type", "by_id")
    params.finish()
    world.add(meter)
    world.emit("billing.meter.created", meter)
    return meter


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one meter."""
    params.finish()
    return world.get("billing.meter", name)


def update(world: World, params: Params, name: str) -> Resource:
    """Rename a meter for people."""
    meter = world.get("billing.meter", name)
    display_name = params.text("display_name")
    params.finish()
    with world.changing(meter, "billing.meter.updated"):
        meter |= {"display_name": display_name or meter["display_name"], "updated": world.now()}
    return meter


def list_meters(world: World, params: Params) -> Resource:
    """Return meters, newest first."""
    chosen = matching(world.all("billing.meter"), status=params.choice("status", "active", "inactive"))
    result = page(params, "/v1/billing/meters", chosen)
    params.finish()
    return result


def deactivate(world: World, params: Params, name: str) -> Resource:
    """Have a meter count no more."""
    return _switch(world, params, name, "inactive")


def reactivate(world: World, params: Params, name: str) -> Resource:
    """Have a meter count again."""
    return _switch(world, params, name, "active")


def send(world: World, params: Params) -> Resource:
    """Count an event once; its identifier keeps a second one out for 24 hours."""
    event_name, payload = params.required_text("event_name"), params.texts_by_name("payload")
    if payload is None:
        raise invalid("Missing required param: payload.", "payload", "parameter_missing")
    moment = params.integer("timestamp")
    moment = world.now() if moment is None else moment
    identifier = params.text("identifier") or world.new_id("id")
    params.finish()
    meter = _active_meter(world, event_name)
    _check_timestamp(world, moment)
    _check_value(meter, payload)
    _check_identifier(world, identifier)
    event: Resource = {
        "object": "billing.meter_event",
        "created": world.now(),
        "event_name": event_name,
        "identifier": identifier,
        "livemode": False,
        "payload": payload,
        "timestamp": moment,
        "_meter": meter["id"],
        "_customer": payload[meter["customer_mapping"]["event_payload_key"]],
        "_is_cancelled": False,
    }
    # Meter events have no id of their own, and an identifier may return when its window is over.
    world.tables.setdefault("billing.meter_event", {})[world.new_id("mevt")] = event
    return event


def adjust(world: World, params: Params) -> Resource:
    """Cancel an event by its identifier within 24 hours of its arrival."""
    event_name = params.required_text("event_name")
    params.choice("type", "cancel")
    group = params.group("cancel")
    identifier = group.required_text("identifier") if group else None
    params.finish()
    found = [
        event
        for event in world.all("billing.meter_event")
        if event["identifier"] == identifier
        and event["event_name"] == event_name
        and not event["_is_cancelled"]
    ]
    if not found:
        raise invalid(
            f"No event found with identifier {identifier}.", "cancel[identifier]", "resource_missing"
        )
    if found[-1]["created"] < world.now() - IDENTIFIER_WINDOW_SECONDS:
        raise invalid(
            "Events can only be cancelled within 24 hours of Stripe receiving them.", "cancel[identifier]"
        )
    found[-1]["_is_cancelled"] = True
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": event_name,
        "livemode": False,
        "status": "pending",
        "type": "cancel",
    }


def list_summaries(world: World, params: Params, name: str) -> Resource:
    """Return what a meter counted for a customer, whole or by hour or day without the empty ones."""
    meter = world.get("billing.meter", name)
    customer = world.get("customer", params.required_text("customer"), "customer")["id"]
    start, end = params.required_integer("start_time"), params.required_integer("end_time")
    grouping = params.choice("value_grouping_window", *_GROUPINGS)
    width = _GROUPINGS[grouping] if grouping else 60
    if start % width or end % width:
        raise invalid(
            f"start_time and end_time must align with {grouping or 'minute'} boundaries.", "start_time"
        )
    step = width if grouping else max(end - start, 1)
    if not 0 <= start < end or (end - start) // step > _MOST_WINDOWS:
        raise invalid("end_time must be after start_time, and not too far.", "end_time")
    found = []
    for begin in range(start, end, step):
        counted = events(world, name, customer, begin, min(begin + step, end))
        if counted or not grouping:
            found.append(_summary(meter, customer, (begin, min(begin + step, end)), counted))
    result = page(params, f"/v1/billing/meters/{name}/event_summaries", found)
    params.finish()
    return result


def _summary(meter: Resource, customer: str, span: tuple[int, int], counted: list[Resource]) -> Resource:
    value = aggregate(meter, counted)
    return {
        "id": f"mtrusg_{meter['id'][4:12]}{customer[4:12]}{span[0]}",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(value),
        "end_time": span[1],
        "livemode": False,
        "meter": meter["id"],
        "start_time": span[0],
    }


def _switch(world: World, params: Params, name: str, status: str) -> Resource:
    params.finish()
    meter = world.get("billing.meter", name)
    now = world.now()
    meter |= {"status": status, "updated": now}
    meter["status_transitions"]["deactivated_at"] = now if status == "inactive" else None
    world.emit(f"billing.meter.{'deactivated' if status == 'inactive' else 'reactivated'}", meter)
    return meter


def _active_meter(world: World, event_name: str) -> Resource:
    for meter in matching(world.all("billing.meter"), event_name=event_name):
        if meter["status"] == "active":
            return meter
        raise invalid("The meter is archived.", "event_name", "archived_meter")
    raise invalid(f"No active meter found for event name {event_name}.", "event_name", "no_meter")


def _check_timestamp(world: World, moment: int) -> None:
    if moment < world.now() - _OLDEST_SECONDS:
        raise invalid(
            "The timestamp must be within the past 35 days.", "timestamp", "timestamp_too_far_in_past"
        )
    if moment > world.now() + _FUTURE_SECONDS:
        raise invalid(
            "The timestamp must not be more than 5 minutes in the future.", "timestamp", "timestamp_in_future"
        )


def _check_value(meter: Resource, payload: dict[str, str]) -> None:
    customer_key = meter["customer_mapping"]["event_payload_key"]
    if not payload.get(customer_key):
        raise invalid(f"Missing payload key: {customer_key}.", "payload", "meter_event_no_customer_defined")
    if meter["default_aggregation"]["formula"] == "count":
        return
    value_key = meter["value_settings"]["event_payload_key"]
    try:
        value = Decimal(payload.get(value_key, ""))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise invalid(f"Invalid value for payload key {value_key}.", "payload", "meter_event_invalid_value")
    if abs(value.adjusted()) >= _MOST_DIGITS or len(value.as_tuple().digits) > _MOST_DIGITS:
        raise invalid(
            f"A value has at most {_MOST_DIGITS} digits.", "payload", "meter_event_value_too_many_digits"
        )


def _check_identifier(world: World, identifier: str) -> None:
    if len(identifier) > _MOST_IDENTIFIER_CHARACTERS:
        raise invalid("Identifiers have at most 100 characters.", "identifier")
    oldest = world.now() - IDENTIFIER_WINDOW_SECONDS
    for event in world.all("billing.meter_event"):
        if event["identifier"] == identifier and event["created"] > oldest:
            raise DuplicateMeterEvent(identifier)


class DuplicateMeterEvent(StripeError):
    """An event came before under the same identifier: 400, and Stripe says not to try again."""

    def __init__(self, identifier: str) -> None:
        super().__init__(
            400, "invalid_request_error", f"An event already exists with identifier {identifier}."
        )
        self.headers = {"Stripe-Should-Retry": "false"}


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/billing/meters", create),
    ("GET", "/v1/billing/meters", list_meters),
    ("GET", "/v1/billing/meters/{name}", retrieve),
    ("POST", "/v1/billing/meters/{name}", update),
    ("POST", "/v1/billing/meters/{name}/deactivate", deactivate),
    ("POST", "/v1/billing/meters/{name}/reactivate", reactivate),
    ("GET", "/v1/billing/meters/{name}/event_summaries", list_summaries),
    ("POST", "/v1/billing/meter_events", send),
    ("POST", "/v1/billing/meter_event_adjustments", adjust),
)
