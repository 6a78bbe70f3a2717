"""Which function answers which request: Stripe's paths, matched part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fake_stripe.errors import StripeError

Handler = Callable[..., dict[str, Any]]
Route = tuple[str, str, Handler]


class Router:
    """A table of routes, looked up by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [(method, tuple(path.split("/")), handler) for method, path, handler in routes]

    def match(self, method: str, path: str) -> tuple[Handler, dict[str, str]]:
        """Return who answers, and the parts of the path by name; a literal part wins over a name.

        Raises Stripe's 404 for a path that nobody serves.
        """
        parts = tuple(path.rstrip("/").split("/"))
        found = [
            (sum(name.startswith("{") for name in pattern), handler, _names(pattern, parts))
            for known, pattern, handler in self._routes
            if known == method and _fits(pattern, parts)
        ]
        if not found:
            raise StripeError(
                404,
                "invalid_request_error",
                f"Unrecognized request URL ({method}: {path}).",
                code="url_invalid",
            )
        _, handler, names = min(found, key=lambda candidate: candidate[0])
        return handler, names


def _fits(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return len(pattern) == len(parts) and all(
        name == part or (name.startswith("{") and part) for name, part in zip(pattern, parts, strict=True)
    )


def _names(pattern: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str]:
    return {name[1:-1]: part for name, part in zip(pattern, parts, strict=True) if name.startswith("{")}
