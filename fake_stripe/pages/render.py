"""How a page becomes HTML: templates of this package, everything escaped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fake_stripe.cards import CARDS
from fake_stripe.world import World

Answer = Callable[[World, Request], Awaitable[Response]]

_ZERO_DECIMALS = frozenset({"bif", "clp", "jpy", "krw", "vnd", "xaf", "xof"})


def _money(amount: int | None, currency: str) -> str:
    if amount is None:
        return "by usage"
    shown = f"{amount:,}" if currency in _ZERO_DECIMALS else f"{amount / 100:,.2f}"
    return f"{shown} {currency.upper()}"


def _moment(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


_TEMPLATES = Environment(
    loader=PackageLoader("fake_stripe"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_TEMPLATES.filters |= {"money": _money, "moment": _moment}


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Return a page; scripts run nowhere on it."""
    html = _TEMPLATES.get_template(template).render(cards=CARDS, **values)
    policy = "default-src 'none'; style-src 'unsafe-inline'; form-action *"
    return HTMLResponse(html, status, headers={"Content-Security-Policy": policy})


def gone(message: str, status: int = 404) -> Response:
    """Return a page that says why there is none."""
    return page("message.html", status, title="Not here", message=message)


def seen(url: str) -> Response:
    """Send the browser on after a form."""
    return RedirectResponse(url, 303)
