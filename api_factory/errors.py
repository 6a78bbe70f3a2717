"""Every refusal: one class with a code for ever, a status, and a sentence that says what to do next.

A face (GraphQL, REST, CLI) translates these classes and invents none of its own. The docstring of a
class is the sentence a caller reads unless the place that raises it knows a more exact one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class ApiFactoryError(Exception):
    """The request was refused."""

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_seconds: int | None = None,
        extensions: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Carry the sentence, the seconds until a retry can help, and facts for `extensions`."""
        self.message = message or (type(self).__doc__ or "The request was refused.").split("\n\n")[0]
        self.retry_after_seconds = retry_after_seconds
        self.extensions: dict[str, object] = dict(extensions or {})
        self.headers: dict[str, str] = dict(headers or {})
        super().__init__(self.message)


class BadUserInput(ApiFactoryError):
    """The input is not valid; correct it and send it again."""

    code = "BAD_USER_INPUT"
    status = 400


class RequestMalformed(BadUserInput):
    """The request is not well formed; correct it and send it again."""


class MethodNotAllowed(BadUserInput):
    """This address does not take that method; use one of those in the Allow header."""

    status = 405


class NotAcceptable(BadUserInput):
    """None of the media types in Accept can be served; ask for application/json."""

    status = 406


class BodyTooSlow(BadUserInput):
    """The body did not arrive in the time this server waits; send it again."""

    status = 408

    def __init__(self) -> None:
        """Close the connection, on which the rest of the body may still come."""
        super().__init__(headers={"Connection": "close"})


class BodyTooLarge(BadUserInput):
    """The body is larger than this server accepts; send less."""

    status = 413


class UnsupportedMediaType(BadUserInput):
    """Send the body with Content-Type: application/json."""

    status = 415


class Unauthenticated(ApiFactoryError):
    """An API key is required; send it as `Authorization: Bearer <key>`.

    RFC 6750 section 3: the challenge names an error only when a credential was presented.
    """

    code = "UNAUTHENTICATED"
    status = 401

    def __init__(self, message: str | None = None, *, presented: bool = False) -> None:
        """State whether a credential was presented, which decides the challenge."""
        challenge = 'Bearer realm="api"' + (', error="invalid_token"' if presented else "")
        super().__init__(message, headers={"WWW-Authenticate": challenge})


class InvalidKey(Unauthenticated):
    """The API key is not valid; check that it was copied whole, or create a new one."""

    def __init__(self, message: str | None = None) -> None:
        """Refuse a presented key; unknown, malformed and revoked answer alike."""
        super().__init__(message, presented=True)


class KeyExpired(InvalidKey):
    """The API key has expired; create a new one."""


class Forbidden(ApiFactoryError):
    """The API key may not do this; use a key that may."""

    code = "FORBIDDEN"
    status = 403


class ScopeMissing(Forbidden):
    """The API key lacks a scope that this call needs; use a key that holds it."""

    def __init__(self, required: frozenset[str], coordinate: str | None = None) -> None:
        """Name the scopes of the call; the challenge follows RFC 6750 section 3.1."""
        names = sorted(required)
        extensions: dict[str, object] = {"requiredScopes": names}
        if coordinate is not None:
            extensions["coordinate"] = coordinate
        scope = " ".join(names)
        challenge = f'Bearer realm="api", error="insufficient_scope", scope="{scope}"'
        super().__init__(
            f"The API key lacks {_scopes(names)}; use a key that holds {_them(names)}.",
            extensions=extensions,
            headers={"WWW-Authenticate": challenge},
        )


class ScopeNotGranted(Forbidden):
    """The API key may not give out a scope it does not hold; leave it out or use a key that holds it."""

    def __init__(self, scopes: frozenset[str] = frozenset(), message: str | None = None) -> None:
        """Name the scopes that the acting key lacks, or say what else would reach further than it."""
        names = sorted(scopes)
        super().__init__(
            message
            or f"The API key does not hold {_scopes(names)} and cannot give {_them(names)} to another key; "
            f"leave {_them(names)} out or use a key that holds {_them(names)}.",
            extensions={"requiredScopes": names},
        )


class AddressNotAllowed(Forbidden):
    """This API key may not be used from your address; add the address to the key's CIDR list."""


class ActionNotAllowed(Forbidden):
    """This API key may not call that action; use a key whose allowed actions include it."""


class DocumentNotTrusted(Forbidden):
    """This API key runs trusted documents only; send the documentId of one, or use another key."""


class IntrospectionOff(Forbidden):
    """Introspection is switched off here; read the schema at /schema.graphql."""


class KeySuspended(Forbidden):
    """The API key is suspended; resume it or use another one."""


class AccountSuspended(Forbidden):
    """The account is suspended; ask its operator to resume it."""


class PaymentRequired(ApiFactoryError):
    """The account has no paid plan that allows this; subscribe to one."""

    code = "PAYMENT_REQUIRED"
    status = 402


class AccountUnpaid(PaymentRequired):
    """The account's subscription is not paid; pay what is open and its keys work again at once."""

    def __init__(self, pay_url: str | None = None) -> None:
        """Give the caller, whose key is proven, the page of the invoice."""
        super().__init__(extensions={} if pay_url is None else {"payUrl": pay_url})


class RateLimited(ApiFactoryError):
    """Too many calls; retry after the time in Retry-After."""

    code = "RATE_LIMITED"
    status = 429
    counted: ClassVar[str] = "calls"
    remedy: ClassVar[str] = ""

    def __init__(
        self,
        *,
        policy: str,
        limit: int,
        window_seconds: int,
        remaining: int,
        retry_after_seconds: int,
        statuses: tuple[object, ...] = (),
    ) -> None:
        """State which policy refused; `statuses` holds every window's state for the headers."""
        self.statuses = statuses
        super().__init__(
            f"The limit of {limit} {self.counted} per {window_seconds} s is reached; "
            f"retry in {retry_after_seconds} s{self.remedy}.",
            retry_after_seconds=retry_after_seconds,
            extensions={
                "policy": policy,
                "limit": limit,
                "window": window_seconds,
                "remaining": remaining,
            },
        )


class TooManyNewDocuments(RateLimited):
    """Too many documents that this server had not read before; use variables for what changes, or retry."""

    counted = "documents that are new to this server"
    remedy = ", and keep what changes out of the document, in variables"


class QuotaExceeded(ApiFactoryError):
    """The units of this period are used up; wait for the next period or choose a larger plan."""

    code = "QUOTA_EXCEEDED"
    status = 429

    def __init__(
        self,
        *,
        units: int,
        limit: int,
        used: int,
        reset_seconds: int,
        scope: str = "account",
        standing: object = None,
    ) -> None:
        """State the units asked for, the limit, what is used, and the seconds to the next period.

        `standing` is the ledger's whole answer, for the headers.
        """
        self.standing = standing
        whose = "key's cap" if scope == "key" else "account's quota"
        super().__init__(
            f"This call needs {units} unit{'' if units == 1 else 's'} and "
            f"the {whose} has {max(0, limit - used)} of {limit} left; "
            f"the next period starts in {reset_seconds} s.",
            retry_after_seconds=reset_seconds,
            extensions={
                "cost": units,
                "limit": limit,
                "used": used,
                "remaining": max(0, limit - used),
                "quota": scope,
            },
        )


class CostLimitExceeded(ApiFactoryError):
    """The operation costs more than one call may; split it into smaller ones."""

    code = "COST_LIMIT_EXCEEDED"
    status = 400

    def __init__(self, *, cost: int, maximum: int, policy: str | None = None) -> None:
        """State the cost and the maximum; there is no time after which a retry would pass.

        With a policy it is a rate limit that refuses: what it counts are calls.
        """
        extensions: dict[str, object] = {"cost": cost, "maximum": maximum}
        if policy is not None:
            extensions["policy"] = policy
        problem = (
            f"The operation costs {cost} and the maximum is {maximum}"
            if policy is None
            else f"The operation counts as {cost} calls and the limit {policy} allows {maximum} at most"
        )
        super().__init__(f"{problem}; split it into smaller ones.", extensions=extensions)


class QueryTooComplex(ApiFactoryError):
    """The document is larger or deeper than this server accepts; ask for less at once."""

    code = "QUERY_TOO_COMPLEX"
    status = 400


class GraphQLParseFailed(ApiFactoryError):
    """The document is not valid GraphQL; correct its syntax."""

    code = "GRAPHQL_PARSE_FAILED"
    status = 400


class GraphQLValidationFailed(ApiFactoryError):
    """The operation does not fit the schema; compare it with /schema.graphql."""

    code = "GRAPHQL_VALIDATION_FAILED"
    status = 400


class PersistedQueryNotFound(ApiFactoryError):
    """No document is known by this id or hash; send its text, or an id of the server's manifest."""

    code = "PERSISTED_QUERY_NOT_FOUND"
    status = 400


class OperationResolutionFailure(ApiFactoryError):
    """The document holds several operations; name one in operationName."""

    code = "OPERATION_RESOLUTION_FAILURE"
    status = 400


class NotFound(ApiFactoryError):
    """There is no such thing here, or it is not yours; check the id."""

    code = "NOT_FOUND"
    status = 404


class InvalidState(ApiFactoryError):
    """The change is not possible in the present state."""

    code = "BAD_USER_INPUT"
    status = 409

    def __init__(self, verb: str, state: str, allowed: tuple[str, ...], *, subject: str = "a key") -> None:
        """Name the verb refused, its subject, the state, and the verbs that state allows."""
        possible = ", ".join(allowed) if allowed else "nothing; this state is final"
        self.allowed = allowed
        super().__init__(
            f"Cannot {verb} {subject} that is {state}; allowed now: {possible}.",
            extensions={"state": state, "allowed": list(allowed)},
        )


class AlreadyExists(ApiFactoryError):
    """Something with this name exists already; choose another name."""

    code = "BAD_USER_INPUT"
    status = 409


class LimitReached(ApiFactoryError):
    """A maximum number is reached; remove one before adding another."""

    code = "BAD_USER_INPUT"
    status = 409


class IdempotencyConflict(ApiFactoryError):
    """A request with this Idempotency-Key is still running; retry when it has ended."""

    code = "IDEMPOTENCY_CONFLICT"
    status = 409


class IdempotencyMismatch(IdempotencyConflict):
    """This Idempotency-Key was used with another payload; use a new key for a new request."""

    status = 422


class IdempotencyOutcomeNotKept(IdempotencyConflict):
    """The request with this Idempotency-Key was done, and its reply was too large to keep; use a new key."""


class Unavailable(ApiFactoryError):
    """A part this server needs is not available; retry after the time in Retry-After."""

    code = "UNAVAILABLE"
    status = 503

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 1) -> None:
        """Always name the seconds after which a retry makes sense."""
        super().__init__(message, retry_after_seconds=retry_after_seconds)


class PlanNotSold(BadUserInput):
    """This plan cannot be bought; choose one that `plans` shows with a price."""


class ReturnAddressNotAllowed(BadUserInput):
    """The address to return to is not one that this server sends buyers to; use an allowed origin."""

    def __init__(self, field: str) -> None:
        """Name the input that holds the address."""
        self.field = field
        super().__init__(
            f"{field} is not an address that this server sends buyers to; use one of an origin in its "
            "API_FACTORY_BILLING_RETURN_ORIGINS."
        )


class AlreadySubscribed(ApiFactoryError):
    """The account has a subscription; change or cancel it in the portal, with createPortalSession."""

    code = "BAD_USER_INPUT"
    status = 409


class NothingBought(ApiFactoryError):
    """The account has bought nothing yet; subscribe to a plan with createCheckoutSession."""

    code = "BAD_USER_INPUT"
    status = 409


class LiveKeyNeeded(Forbidden):
    """A test key spends no money; use a live key of the account."""


class StripeUnavailable(Unavailable):
    """Stripe does not answer; retry after the time in Retry-After."""

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 5) -> None:
        """Leave Stripe a little longer than a part of our own."""
        super().__init__(message, retry_after_seconds=retry_after_seconds)


class StripeMisconfigured(Unavailable):
    """Billing is not configured on this server; its operator has to set STRIPE_API_KEY."""

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 60) -> None:
        """Say what is wrong with the key; no retry helps before somebody mends it."""
        super().__init__(message, retry_after_seconds=retry_after_seconds)


class StripeRefused(ApiFactoryError):
    """Stripe refused what this server asked of it; its operator finds the reason in the log."""

    code = "INTERNAL"
    status = 500

    def __init__(
        self,
        message: str | None = None,
        *,
        stripe_type: str = "",
        stripe_code: str | None = None,
        param: str | None = None,
        decline_code: str | None = None,
    ) -> None:
        """Carry what Stripe said, for whoever can make a better sentence of it."""
        self.stripe_type = stripe_type
        self.stripe_code = stripe_code
        self.param = param
        self.decline_code = decline_code
        super().__init__(message)


class WebhookRefused(BadUserInput):
    """No event that Stripe signed for this server; compare its secret with STRIPE_WEBHOOK_SECRET."""

    def __init__(self, reason: str) -> None:
        """Remember what was wrong (`signature`, `timestamp` or `shape`): for the metrics, not the sender."""
        self.reason = reason
        super().__init__()


class WebhookNotMounted(NotFound):
    """This server takes no events of Stripe; its operator has to set STRIPE_WEBHOOK_SECRET."""


class InternalError(ApiFactoryError):
    """Something went wrong here; quote the request id when you report it."""

    code = "INTERNAL"
    status = 500


class ConfigurationError(ApiFactoryError):
    """A setting keeps the server from starting."""

    code = "CONFIGURATION"
    status = 500


def _scopes(names: list[str]) -> str:
    *others, last = names
    return f"the scopes {', '.join(others)} and {last}" if others else f"the scope {last}"


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"
