"""Buying: the mutations that open a page of Stripe for the person at the browser."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import strawberry

from api_factory.billing.buying import HostedPage, Order
from api_factory.errors import ApiFactoryError, LiveKeyNeeded, PlanNotSold, ReturnAddressNotAllowed
from schema.context import Context
from schema.directives import RateLimit, RequiresKey, Scope
from schema.types import Info
from schema.user_errors import MENDABLE, UserError

_BUYS: Final = (RequiresKey(scopes=[Scope("MANAGE_BILLING")]), RateLimit(limit=10, window=60))


@strawberry.type
class BillingSessionPayload:
    """The page to send the browser to, or why there is none."""

    url: str | None = strawberry.field(description="Send the browser here; it is for one person.")
    expires_at: datetime | None = strawberry.field(description="Null: within minutes.")
    user_errors: list[UserError]


@strawberry.input
class CreateCheckoutSessionInput:
    """What is to be bought, and where the browser goes afterwards."""

    plan_id: strawberry.ID
    success_url: str = strawberry.field(description="After the purchase; its origin must be allowed here.")
    cancel_url: str = strawberry.field(description="When the buyer turns back; its origin must be allowed.")
    quantity: int = strawberry.field(
        default=1, description="More than one only of a plan that is sold by the number."
    )


@strawberry.input
class CreatePortalSessionInput:
    """Where the browser goes when the person has done."""

    return_url: str = strawberry.field(description="Its origin must be allowed here.")


@strawberry.type
class BuyingMutations:
    """The root fields that open a page of Stripe."""

    @strawberry.mutation(
        directives=_BUYS,
        description="Open a Checkout page on which the account subscribes to a plan. What was bought "
        "shows in `viewer.subscription` once Stripe has said so.",
    )
    async def create_checkout_session(
        self, info: Info, order: Annotated[CreateCheckoutSessionInput, strawberry.argument(name="input")]
    ) -> BillingSessionPayload:
        """Open a Checkout page."""
        context = info.context
        wanted = Order(
            plan_slug=order.plan_id.removeprefix("plan_"),
            success_url=order.success_url,
            cancel_url=order.cancel_url,
            quantity=order.quantity,
        )
        payer = _spender(context)
        buying = context.engine.billing.buying
        return await _page(buying.checkout(payer, wanted, by=context.actor))

    @strawberry.mutation(
        directives=_BUYS,
        description="Open the customer portal, for payment method, invoices, and changing or cancelling.",
    )
    async def create_portal_session(
        self, info: Info, visit: Annotated[CreatePortalSessionInput, strawberry.argument(name="input")]
    ) -> BillingSessionPayload:
        """Open the customer portal."""
        context = info.context
        payer = _spender(context)
        buying = context.engine.billing.buying
        return await _page(buying.portal(payer, visit.return_url, by=context.actor))


def _spender(context: Context) -> UUID:
    """Return the account that buys. Raises `LiveKeyNeeded` for a test key: it spends no money."""
    payer = context.admission.payer
    if not payer.livemode:
        raise LiveKeyNeeded
    return payer.account_id


async def _page(opening: Awaitable[HostedPage]) -> BillingSessionPayload:
    try:
        page = await opening
    except MENDABLE as error:
        mistake = UserError.of(error, field=_field(error))
        return BillingSessionPayload(url=None, expires_at=None, user_errors=[mistake])
    return BillingSessionPayload(url=page.url, expires_at=page.expires_at, user_errors=[])


def _field(error: ApiFactoryError) -> list[str] | None:
    if isinstance(error, ReturnAddressNotAllowed):
        return ["input", error.field]
    return ["input", "planId"] if isinstance(error, PlanNotSold) else None
