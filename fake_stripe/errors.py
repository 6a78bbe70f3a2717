"""Refusals in the shape that Stripe gives them (https://docs.stripe.com/api/errors)."""

from __future__ import annotations

from typing import Any


class StripeError(Exception):
    """A refusal: an HTTP status and the fields of Stripe's error object."""

    def __init__(self, status: int, kind: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {"type": kind, "message": message}
        self.body.update({name: value for name, value in fields.items() if value is not None})


def invalid(message: str, param: str | None = None, code: str | None = None) -> StripeError:
    """Return the refusal of a request that can never succeed as it is: 400 `invalid_request_error`."""
    return StripeError(400, "invalid_request_error", message, param=param, code=code)


def missing(kind: str, name: str, param: str | None = None) -> StripeError:
    """Return the refusal of an id that is not there: 404 in the path, 400 where `param` names it."""
    status = 404 if param is None else 400
    return StripeError(
        status,
        "invalid_request_error",
        f"No such {kind}: '{name}'",
        code="resource_missing",
        param=param or "id",
    )


def unauthenticated(message: str) -> StripeError:
    """Return the refusal of a request without a test key: 401."""
    return StripeError(401, "invalid_request_error", message)


def idempotency_conflict(key: str) -> StripeError:
    """Return the refusal of a key that came before with other parameters: 400 `idempotency_error`."""
    return StripeError(
        400,
        "idempotency_error",
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request.",
    )


def card_error(code: str, message: str, decline_code: str | None = None, **fields: Any) -> StripeError:
    """Return the refusal of a card: 402 `card_error`."""
    return StripeError(402, "card_error", message, code=code, decline_code=decline_code, **fields)
