"""The way to Stripe: the only module that imports its package.

No request leaves inside a database transaction: a slow answer would hold locks that calls wait for.
No object of the package leaves, apart from what `call` hands to the slice's own readers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import orjson
import stripe

from api_factory.billing import objects
from api_factory.billing.dunning import OWED
from api_factory.billing.model import (
    CustomerPicture,
    FetchedCustomer,
    FetchedInvoice,
    FetchedSubscription,
    Payment,
    ReceivedEvent,
)
from api_factory.errors import (
    StripeMisconfigured,
    StripeRefused,
    StripeUnavailable,
    WebhookRefused,
)

API_VERSION: Final[str] = stripe.api_version
"""The version that the package is made for and every object is fetched in."""
TIMEOUT_SECONDS: Final = 20.0
NETWORK_RETRIES: Final = 2
TOLERANCE_SECONDS: Final = 300
_PAGE: Final = 100

Client = stripe.StripeClient
T = TypeVar("T")


class Stripe:
    """The account at Stripe that a secret key belongs to."""

    def __init__(
        self,
        api_key: str | None,
        *,
        base: str | None = None,
        is_in_transaction: Callable[[], bool] = lambda: False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """Remember where Stripe is; nothing connects. Without a key every call is refused."""
        self._api_key = api_key
        self._base = base
        self._is_in_transaction = is_in_transaction
        self._timeout_seconds = timeout_seconds
        self._client: Client | None = None
        self._http: Any = None

    @property
    def is_configured(self) -> bool:
        """Tell whether there is a key to ask with."""
        return self._api_key is not None

    @property
    def livemode(self) -> bool:
        """Tell whether the key moves real money."""
        return self._api_key is not None and "_live_" in self._api_key

    async def close(self) -> None:
        """End the connections."""
        if self._http is not None:
            await self._http.close_async()
        self._http = self._client = None

    async def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Ask Stripe; what comes back is the package's and is to be read at once.

        The package repeats a request that got no answer, twice, with the same idempotency key.

        Raises:
            RuntimeError: It was called inside a database transaction.
            StripeUnavailable: Stripe did not answer, answered with a fault of its own, or asks for fewer
                requests. What was asked for may have happened.
            StripeMisconfigured: There is no key, or Stripe does not take it.
            StripeRefused: Stripe understood the request and refused it.
        """
        if self._is_in_transaction():
            raise RuntimeError("Stripe was asked inside a database transaction.")
        try:
            return await work(self._opened())
        except (stripe.AuthenticationError, stripe.PermissionError) as error:
            raise StripeMisconfigured(f"Stripe does not take STRIPE_API_KEY: {_words(error)}") from None
        except (stripe.APIConnectionError, stripe.RateLimitError) as error:
            raise StripeUnavailable from error
        except stripe.StripeError as error:
            raise _refusal(error) from None

    async def customer(self, customer_id: str) -> FetchedCustomer | None:
        """Return a customer, one that was deleted too, or None when Stripe knows none."""
        found = await self._found(lambda client: client.v1.customers.retrieve_async(customer_id))
        return None if found is None else objects.customer_of(found)

    async def subscription(self, subscription_id: str) -> FetchedSubscription | None:
        """Return a subscription as it is now, or None when Stripe knows none."""
        found = await self._found(lambda client: client.v1.subscriptions.retrieve_async(subscription_id))
        return None if found is None else await self._whole(found)

    async def picture(self, customer_id: str) -> CustomerPicture | None:
        """Return a customer, all his subscriptions and what he owes, or None when Stripe knows none.

        The parts are fetched one after the other; a change in between makes an event of its own.
        """
        customer = await self.customer(customer_id)
        if customer is None:
            return None
        subscriptions = await self._subscriptions_of(customer)
        invoices: list[FetchedInvoice] = []
        for owed in (found for found in subscriptions if found.status in OWED):
            invoices += await self._open_invoices(owed)
        invoices.sort(key=lambda invoice: (invoice.owed_since, invoice.id))
        return CustomerPicture(customer=customer, subscriptions=subscriptions, open_invoices=tuple(invoices))

    def subscriptions(self) -> AsyncIterator[FetchedSubscription]:
        """Go through all subscriptions of the account at Stripe, ended ones too, the newest first."""
        return self._subscriptions({"status": "all", "limit": _PAGE})

    async def invoice(self, invoice_id: str) -> FetchedInvoice | None:
        """Return an invoice with its latest refusal, or None when Stripe knows none."""
        expand = ["payments.data.payment.payment_intent"]
        found = await self._found(
            lambda client: client.v1.invoices.retrieve_async(invoice_id, {"expand": expand})
        )
        return None if found is None else objects.invoice_of(found)

    async def pay(self, invoice_id: str, *, payment_method_id: str | None, idempotency_key: str) -> Payment:
        """Have an open invoice paid; asking again with the same key charges nobody twice.

        Raises as `call` does, but a payment that is declined is an answer.
        """
        wanted: Any = {} if payment_method_id is None else {"payment_method": payment_method_id}
        try:
            found = await self.call(
                lambda client: client.v1.invoices.pay_async(
                    invoice_id, wanted, {"idempotency_key": idempotency_key}
                )
            )
        except StripeRefused as refused:
            if refused.stripe_type != "card_error":
                raise
            return Payment(is_paid=False, decline_code=refused.decline_code or refused.stripe_code)
        return Payment(is_paid=found.status == "paid")

    async def events(
        self, since: datetime, types: Sequence[str] | None = None
    ) -> AsyncIterator[ReceivedEvent]:
        """Go through the events since a moment, the newest first; Stripe keeps them for 30 days.

        `types` are at most 20; https://docs.stripe.com/api/events/list.
        """
        wanted: Any = {"created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        if types is not None:
            wanted["types"] = list(types)
        async for found in self._pages(lambda client, asked: client.v1.events.list_async(asked), wanted):
            yield event_of(orjson.dumps(found))

    async def event(self, event_id: str) -> ReceivedEvent | None:
        """Return one event of the last 30 days, or None when Stripe knows none."""
        found = await self._found(lambda client: client.v1.events.retrieve_async(event_id))
        return None if found is None else event_of(orjson.dumps(found))

    async def _subscriptions_of(self, customer: FetchedCustomer) -> tuple[FetchedSubscription, ...]:
        wanted = {"customer": customer.id, "status": "all", "limit": _PAGE}
        try:
            return tuple([found async for found in self._subscriptions(wanted)])
        except StripeRefused:
            if customer.is_deleted:
                return ()
            raise

    async def _subscriptions(self, wanted: Any) -> AsyncIterator[FetchedSubscription]:
        ask = partial(self._pages, lambda client, asked: client.v1.subscriptions.list_async(asked))
        async for found in ask(wanted):
            yield await self._whole(found)

    async def _pages(
        self, ask: Callable[[Client, Any], Awaitable[Any]], wanted: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Go through a list of Stripe page by page."""
        while True:
            page = await self.call(lambda client, asked=wanted: ask(client, asked))  # type: ignore[misc]
            for found in page.data:
                yield found.to_dict(for_json=True)
            if not page.has_more or not page.data:
                return
            wanted = wanted | {"starting_after": page.data[-1].id}

    async def _open_invoices(self, owed: FetchedSubscription) -> list[FetchedInvoice]:
        wanted: Any = {"subscription": owed.id, "status": "open", "limit": _PAGE}
        page = await self.call(lambda client: client.v1.invoices.list_async(wanted))
        return [objects.invoice_of(found.to_dict(for_json=True)) for found in page.data]

    async def _whole(self, found: Mapping[str, Any]) -> FetchedSubscription:
        """Read a subscription, with the items that did not fit into it."""
        if found["items"].get("has_more"):
            wanted: Any = {"subscription": found["id"], "limit": _PAGE}
            page = await self.call(lambda client: client.v1.subscription_items.list_async(wanted))
            found = {**found, "items": page.to_dict(for_json=True)}
        return objects.subscription_of(found)

    async def _found(self, work: Callable[[Client], Awaitable[Any]]) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = (await self.call(work)).to_dict(for_json=True)
        except StripeRefused as refused:
            if refused.stripe_code == "resource_missing":
                return None
            raise
        return found

    def _opened(self) -> Client:
        if self._api_key is None:
            raise StripeMisconfigured
        if self._client is None:
            self._http = stripe.HTTPXClient(timeout=self._timeout_seconds)
            self._client = stripe.StripeClient(
                self._api_key,
                base_addresses=None if self._base is None else {"api": self._base},
                max_network_retries=NETWORK_RETRIES,
                http_client=self._http,
            )
        return self._client


def verified(
    body: bytes, signature: str | None, secrets: Sequence[str], *, now: float | None = None
) -> ReceivedEvent:
    """Return the event that Stripe signed with one of the secrets.

    The signature covers the body to the byte and a time, which must be within five minutes of ours, earlier
    or later (https://docs.stripe.com/webhooks/signature). While a secret is rolled Stripe signs with both.

    Raises `WebhookRefused` for anything else, whatever it is.
    """
    now = time.time() if now is None else now
    if not any(_is_signed(body, signature, secret) for secret in secrets):
        raise WebhookRefused("signature")
    if abs(now - _signed_at(signature or "")) > TOLERANCE_SECONDS:
        raise WebhookRefused("timestamp")
    return event_of(body)


def event_of(body: bytes) -> ReceivedEvent:
    """Read an event. Raises `WebhookRefused` when it is none of the kind that holds its object."""
    try:
        event = orjson.loads(body)
        found = event["data"]["object"]
        created_at = objects.moment(event["created"])
        if event["object"] != "event" or not isinstance(found, dict) or created_at is None:
            raise WebhookRefused("shape")
        return ReceivedEvent(
            id=_name(event["id"], 255),
            type=_name(event["type"], 100),
            livemode=bool(event["livemode"]),
            api_version=_name_if_any(event.get("api_version"), 100),
            created_at=created_at,
            customer_id=_name_if_any(objects.customer_id_of(found), 255),
            subscription_id=_name_if_any(objects.subscription_id_of(found), 255),
            object_id=_name_if_any(objects.id_of(found), 255),
            body=body,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
        raise WebhookRefused("shape") from None


def _name(value: object, longest: int) -> str:
    """Return what Stripe calls something. Raises `WebhookRefused` when it cannot be that."""
    if isinstance(value, str) and 0 < len(value) <= longest and value.isascii() and value.isprintable():
        return value
    raise WebhookRefused("shape")


def _name_if_any(value: object, longest: int) -> str | None:
    return None if value is None else _name(value, longest)


def _is_signed(body: bytes, signature: str | None, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(body, signature, secret))
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        # The package leaves what is no text in the header or body to whoever calls it.
        return False


def _signed_at(signature: str) -> int:
    for part in signature.split(","):
        name, _, value = part.partition("=")
        if name == "t":
            return int(value)
    return 0


def _refusal(error: stripe.StripeError) -> StripeUnavailable | StripeRefused:
    if error.http_status is None or error.http_status >= 500 or error.http_status in (409, 429):
        return StripeUnavailable()
    told: Any = error.json_body or {}
    details = told.get("error") or {}
    return StripeRefused(
        _words(error),
        stripe_type=str(details.get("type") or ""),
        stripe_code=error.code,
        param=getattr(error, "param", None),
        decline_code=details.get("decline_code"),
    )


def _words(error: stripe.StripeError) -> str:
    return str(error.user_message or "no reason was given")
