"""Webhook endpoints (https://docs.stripe.com/api/webhook_endpoints)."""

from __future__ import annotations

from urllib.parse import urlsplit

from fake_stripe import API_VERSION
from fake_stripe.errors import invalid
from fake_stripe.listing import page
from fake_stripe.params import Params
from fake_stripe.router import Route
from fake_stripe.world import Resource, World, shown

_MOST_ENDPOINTS = 16


def create(world: World, params: Params) -> Resource:
    """Make an endpoint; only this answer tells its secret."""
    endpoint = make(world, params, f"whsec_{world.draw().hex()}")
    return shown(endpoint) | {"secret": endpoint["_secrets"][0]["secret"]}


def make(world: World, params: Params, secret: str) -> Resource:
    """Make an endpoint that signs with this secret."""
    events = params.texts("enabled_events")
    if not events:
        raise invalid("Missing required param: enabled_events.", "enabled_events", "parameter_missing")
    if len(world.all("webhook_endpoint")) >= _MOST_ENDPOINTS:
        raise invalid(f"You have reached the maximum of {_MOST_ENDPOINTS} test webhook endpoints.")
    endpoint: Resource = {
        "id": world.new_id("we"),
        "object": "webhook_endpoint",
        "api_version": params.text("api_version") or API_VERSION,
        "application": None,
        "created": world.now(),
        "description": params.text("description"),
        "enabled_events": events,
        "livemode": False,
        "metadata": params.metadata(),
        "status": "enabled",
        "url": _url(params.required_text("url")),
        "_secrets": [{"secret": secret, "expires_at": None}],
    }
    params.ignore("connect")
    params.finish()
    return world.add(endpoint)


def retrieve(world: World, params: Params, name: str) -> Resource:
    """Return one endpoint, without its secret."""
    params.finish()
    return world.get("webhook_endpoint", name)


def update(world: World, params: Params, name: str) -> Resource:
    """Change where events go and which; the API version of an endpoint is fixed."""
    endpoint = world.get("webhook_endpoint", name)
    events, disabled = params.texts("enabled_events"), params.boolean("disabled")
    url = params.text("url")
    description = params.text("description") if params.has("description") else endpoint["description"]
    metadata = params.metadata(endpoint["metadata"])
    params.finish()
    endpoint |= {"description": description, "metadata": metadata}
    endpoint["enabled_events"] = events or endpoint["enabled_events"]
    endpoint["url"] = _url(url) if url else endpoint["url"]
    if disabled is not None:
        endpoint["status"] = "disabled" if disabled else "enabled"
    return endpoint


def list_endpoints(world: World, params: Params) -> Resource:
    """Return the endpoints, newest first."""
    result = page(params, "/v1/webhook_endpoints", world.all("webhook_endpoint"))
    params.finish()
    return result


def delete(world: World, params: Params, name: str) -> Resource:
    """Delete an endpoint; nothing more is sent there."""
    params.finish()
    return world.remove(world.get("webhook_endpoint", name))


def secrets_of(world: World, endpoint: Resource) -> list[str]:
    """Return the secrets that sign now: two while a rolled one has not expired."""
    now = world.now()
    return [
        one["secret"] for one in endpoint["_secrets"] if one["expires_at"] is None or one["expires_at"] > now
    ]


def roll(world: World, endpoint: Resource, overlap_seconds: int) -> str:
    """Give an endpoint a new secret; the old one goes on signing as well for a while."""
    for one in endpoint["_secrets"]:
        one["expires_at"] = one["expires_at"] or world.now() + overlap_seconds
    secret = f"whsec_{world.draw().hex()}"
    endpoint["_secrets"].insert(0, {"secret": secret, "expires_at": None})
    return secret


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.", "url", "url_invalid"
        )
    return text


ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/webhook_endpoints", create),
    ("GET", "/v1/webhook_endpoints", list_endpoints),
    ("GET", "/v1/webhook_endpoints/{name}", retrieve),
    ("POST", "/v1/webhook_endpoints/{name}", update),
    ("DELETE", "/v1/webhook_endpoints/{name}", delete),
)
