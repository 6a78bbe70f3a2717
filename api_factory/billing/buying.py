"""Buying: a page of Stripe on which an account subscribes, and one on which it manages what it has.

The account is a customer before anything is sold, so an event always finds whose it is. Nothing is granted
here: what was bought is what Stripe says afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from api_factory.accounts import Account, Accounts, Plan
from api_factory.audit import Actor, Audit
from api_factory.billing.returns import ReturnAddresses
from api_factory.billing.service import Billing
from api_factory.billing.setup import find_portal
from api_factory.billing.stripe import Stripe
from api_factory.billing.wares import Ware, wares_of
from api_factory.db import Database
from api_factory.errors import (
    AlreadySubscribed,
    BadUserInput,
    NothingBought,
    PlanNotSold,
    StripeMisconfigured,
    StripeRefused,
)

LARGEST_QUANTITY: Final = 10_000
_OVER: Final = frozenset({"canceled", "incomplete_expired"})
_PAGE: Final = 100
_SETUP: Final = "run `api-factory billing setup --apply`"


@dataclass(frozen=True, slots=True)
class HostedPage:
    """A page of Stripe for one buyer's browser; `expires_at` None: soon, Stripe does not say when."""

    url: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants to buy, and where his browser goes afterwards."""

    plan_slug: str
    success_url: str
    cancel_url: str
    quantity: int = 1


class Buying:
    """The way from an account to a page of Stripe."""

    def __init__(
        self,
        db: Database,
        audit: Audit,
        accounts: Accounts,
        billing: Billing,
        stripe: Stripe,
        returns: ReturnAddresses,
    ) -> None:
        """Take what is asked, and which addresses a buyer may be sent back to."""
        self._db = db
        self._audit = audit
        self._accounts = accounts
        self._billing = billing
        self._stripe = stripe
        self._returns = returns

    async def checkout(self, account_id: UUID, order: Order, *, by: Actor) -> HostedPage:
        """Open a Checkout page for a plan; the pages opened earlier for the account are closed.

        Raises:
            BadUserInput: The quantity or a return address is not possible.
            PlanNotSold: The plan cannot be bought, or is not there.
            AlreadySubscribed: The account has a subscription that may still be charged for, here or at
                Stripe, whatever of it has arrived here.
            StripeMisconfigured: Stripe lacks the plan's price, or has another amount than the plan says.
        """
        self._returns.check("successUrl", order.success_url)
        self._returns.check("cancelUrl", order.cancel_url)
        plan = await self._sold(order)
        standings = await self._billing.subscriptions(account_id)
        if any(each.state.is_live for each in standings):
            raise AlreadySubscribed
        items = await self._line_items(plan, order.quantity)
        account = await self._customer_of(account_id, by)
        try:
            session = await self._open(account, plan, order, items, is_first=not standings)
        except StripeRefused as refused:
            if refused.stripe_code != "resource_missing" or refused.param != "customer":
                raise
            account = await self._customer_instead_of(account, by)
            session = await self._open(account, plan, order, items, is_first=not standings)
        await self._close_others(str(account.stripe_customer_id), session["id"])
        await self._record(account, "checkout_opened", {"plan": plan.slug, "quantity": order.quantity}, by)
        return HostedPage(session["url"], datetime.fromtimestamp(session["expires_at"], UTC))

    async def portal(self, account_id: UUID, return_url: str, *, by: Actor) -> HostedPage:
        """Open the customer portal. Raises `BadUserInput`, and `NothingBought` for who is no customer yet."""
        self._returns.check("returnUrl", return_url)
        account = await self._accounts.get(account_id)
        if account.stripe_customer_id is None:
            raise NothingBought
        found = await find_portal(self._stripe)
        wanted: Any = {"customer": account.stripe_customer_id, "return_url": return_url}
        if found is not None:
            wanted["configuration"] = found["id"]
        try:
            session = await self._stripe.call(
                lambda client: client.v1.billing_portal.sessions.create_async(wanted)
            )
        except StripeRefused as refused:
            if refused.stripe_code != "resource_missing":
                raise
            raise NothingBought from None
        await self._record(account, "portal_opened", {}, by)
        return HostedPage(session.url, None)

    async def _sold(self, order: Order) -> Plan:
        plan = (await self._billing.offer()).plan(order.plan_slug)
        if plan is None or not plan.is_sold:
            raise PlanNotSold
        largest = 1 if plan.quantity_rule == "ignore" else LARGEST_QUANTITY
        if not 1 <= order.quantity <= largest:
            raise BadUserInput(
                f"The quantity is {order.quantity}; this plan is sold from 1 to {largest} times."
            )
        return plan

    async def _line_items(self, plan: Plan, quantity: int) -> list[Mapping[str, object]]:
        wares = wares_of([plan])
        wanted: Any = {"lookup_keys": [ware.lookup_key for ware in wares], "limit": _PAGE}
        found = await self._stripe.call(lambda client: client.v1.prices.list_async(wanted))
        prices = {price.lookup_key: price.to_dict(for_json=True) for price in found.data}
        return [_line_item(ware, prices.get(ware.lookup_key), quantity) for ware in wares]

    async def _customer_of(self, account_id: UUID, by: Actor) -> Account:
        """Return the account as the customer that it is; it becomes one, and one only, where it was none.

        However many ask at once, they ask Stripe under one idempotency key, and the account's row says whose
        answer holds (https://docs.stripe.com/api/idempotent_requests).
        """
        account = await self._accounts.get(account_id)
        if account.stripe_customer_id is not None:
            return account
        return await self._become_customer(account, "", by)

    async def _customer_instead_of(self, account: Account, by: Actor) -> Account:
        """Make another customer of an account whose customer was deleted at Stripe."""
        gone = str(account.stripe_customer_id)
        async with self._db.transaction():
            current = await self._accounts.lock(account.id)
            if current.stripe_customer_id == gone:
                current = await self._accounts.link_customer(account.id, None, by=by)
        if current.stripe_customer_id is not None:
            return current
        return await self._become_customer(current, f":{gone}", by)

    async def _become_customer(self, account: Account, suffix: str, by: Actor) -> Account:
        wanted: Any = {
            "email": account.email,
            "name": account.name or account.email,
            "metadata": {"account_id": account.public_id},
        }
        once: Any = {"idempotency_key": f"api-factory-customer:{account.public_id}{suffix}"}
        made = await self._stripe.call(lambda client: client.v1.customers.create_async(wanted, once))
        async with self._db.transaction():
            current = await self._accounts.lock(account.id)
            if current.stripe_customer_id is not None:
                return current
            return await self._accounts.link_customer(account.id, made.id, by=by)

    async def _open(
        self, account: Account, plan: Plan, order: Order, items: Sequence[object], *, is_first: bool
    ) -> Mapping[str, Any]:
        metadata = {"account_id": account.public_id, "plan": plan.slug}
        subscription: dict[str, Any] = {"metadata": metadata}
        if plan.trial_days and is_first:  # a trial is for who has never had a subscription
            ending = {"end_behavior": {"missing_payment_method": "cancel"}}
            subscription |= {"trial_period_days": plan.trial_days, "trial_settings": ending}
        wanted: Any = {
            "mode": "subscription",
            "customer": account.stripe_customer_id,
            "client_reference_id": account.public_id,
            "line_items": [*items],
            "success_url": order.success_url,
            "cancel_url": order.cancel_url,
            "metadata": metadata,
            "subscription_data": subscription,
        }
        await self._refuse_subscribed(str(account.stripe_customer_id))
        made = await self._stripe.call(lambda client: client.v1.checkout.sessions.create_async(wanted))
        session: Mapping[str, Any] = made.to_dict(for_json=True)
        return session

    async def _refuse_subscribed(self, customer_id: str) -> None:
        """Ask Stripe itself: a page that was paid a moment ago may not have been heard of here."""
        wanted: Any = {"customer": customer_id, "status": "all", "limit": _PAGE}
        found = await self._stripe.call(lambda client: client.v1.subscriptions.list_async(wanted))
        if any(each.status not in _OVER for each in found.data):
            raise AlreadySubscribed

    async def _close_others(self, customer_id: str, session_id: str) -> None:
        """Leave one page open: of two that are paid, the second would be a second subscription.

        A page that cannot be closed was paid meanwhile; then the new one is closed, and `AlreadySubscribed`
        raised.
        """
        wanted: Any = {"customer": customer_id, "status": "open", "limit": _PAGE}
        found = await self._stripe.call(lambda client: client.v1.checkout.sessions.list_async(wanted))
        others = [each.id for each in found.data if each.id != session_id]
        if all([await self._close(other) for other in others]):
            return
        try:
            await self._refuse_subscribed(customer_id)
        except AlreadySubscribed:
            await self._close(session_id)
            raise

    async def _close(self, session_id: str) -> bool:
        try:
            await self._stripe.call(lambda client: client.v1.checkout.sessions.expire_async(session_id))
        except StripeRefused:
            return False
        return True

    async def _record(self, account: Account, verb: str, facts: dict[str, object], by: Actor) -> None:
        async with self._db.transaction():
            await self._audit.record(by, verb, "account", account.public_id, before=None, after=facts)


def _line_item(ware: Ware, price: Mapping[str, Any] | None, quantity: int) -> Mapping[str, object]:
    if price is None:
        raise StripeMisconfigured(f"Stripe has no price {ware.lookup_key}; {_SETUP}.")
    # The meter is asked for by `billing doctor`; here it is about what the buyer was told.
    differences = ware.differences(price, None)
    if differences:
        what = ", ".join(differences)
        raise StripeMisconfigured(
            f"Stripe's price {ware.lookup_key} has another {what} than the plan; {_SETUP}."
        )
    # Stripe counts metered units itself and takes no quantity for them.
    return {"price": price["id"]} if ware.is_metered else {"price": price["id"], "quantity": quantity}
