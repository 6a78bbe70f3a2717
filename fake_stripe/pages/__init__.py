"""The pages that people click through: Checkout, the customer portal, an invoice, and what this server is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fake_stripe.pages import checkout, home, invoice, portal
from fake_stripe.pages.render import Answer
from fake_stripe.world import World

_PAGES: tuple[tuple[str, str, Answer], ...] = (
    ("GET", "/", home.show),
    ("POST", "/advance", home.advance),
    ("GET", "/c/pay/{name}", checkout.show),
    ("POST", "/c/pay/{name}", checkout.pay),
    ("GET", "/p/session/{name}", portal.show),
    ("POST", "/p/session/{name}", portal.act),
    ("GET", "/i/{name}", invoice.show),
    ("POST", "/i/{name}", invoice.pay),
    ("GET", "/i/{name}/pdf", invoice.document),
)


def routes(world: World, save: Callable[[], None]) -> list[Route]:
    """Return the routes of all pages; `save` is called after each form."""
    return [Route(path, _endpoint(world, save, answer), methods=[method]) for method, path, answer in _PAGES]


def _endpoint(
    world: World, save: Callable[[], None], answer: Answer
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        response = await answer(world, request)
        if request.method == "POST":
            save()
        return response

    return endpoint
