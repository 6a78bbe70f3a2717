"""Money and access as one fact: what was fetched of a customer becomes rows, keys and quota at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from api_factory.accounts import Account, Accounts, Plans
from api_factory.audit import Actor, Audit
from api_factory.billing import projection, transitions
from api_factory.billing.model import BillingRules, CustomerPicture, Episode, FetchedSubscription, Standing
from api_factory.billing.projection import Local, Offer, Projection
from api_factory.billing.store import dunning as dunning_store
from api_factory.billing.store import inbox as inbox_store
from api_factory.billing.store import subscriptions as store
from api_factory.billing.transitions import Cause
from api_factory.db import Database
from api_factory.errors import ApiFactoryError, NotFound
from api_factory.ids import parse_public_id
from api_factory.notices import Notices

STRIPE: Final = Actor("system", "stripe")
CLOCK: Final = Actor("system", "clock")


class OwnerUnknown(ApiFactoryError):
    """A customer pays, and no account here is his."""


class Overtaken(ApiFactoryError):
    """What was fetched is older than what stands here; fetch again."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The account that a customer is, None when he is nobody's, and what a person has to decide."""

    account_id: UUID | None
    attention: str | None = None


class Billing:
    """Writes what Stripe's objects mean."""

    def __init__(
        self,
        db: Database,
        audit: Audit,
        accounts: Accounts,
        plans: Plans,
        notices: Notices,
        rules: BillingRules,
    ) -> None:
        """Take what a projection touches, and the owner's rules."""
        self._db = db
        self._audit = audit
        self._accounts = accounts
        self._plans = plans
        self._notices = notices
        self._rules = rules

    async def now(self) -> datetime:
        """Return the moment by the database's clock: to be taken before a customer is fetched."""
        return await inbox_store.now(self._db)

    async def subscriptions(self, account_id: UUID) -> tuple[Standing, ...]:
        """Return the subscriptions of an account as they stand here, the oldest first."""
        return await store.of_account(self._db, account_id)

    async def live_subscription(self, account_id: UUID) -> Standing | None:
        """Return the subscription that the account's plan follows, else the newest that has not ended."""
        live = [each for each in await self.subscriptions(account_id) if each.state.is_live]
        return next((each for each in live if each.is_current), live[-1] if live else None)

    async def open_episode(self, account_id: UUID, subscription_id: str) -> Episode | None:
        """Return the dunning episode that a subscription is in, or None."""
        found = await dunning_store.open_of_account(self._db, account_id)
        return next((each for each in found if each.subscription_id == subscription_id), None)

    async def episodes(self, account_id: UUID) -> tuple[Episode, ...]:
        """Return the dunning episodes of an account, the oldest first."""
        return await dunning_store.of_account(self._db, account_id)

    async def apply(self, picture: CustomerPicture, fetched_at: datetime, cause: Cause) -> Applied:
        """Write what a customer's objects mean, in the caller's transaction: rows, plan, keys, notices.

        `fetched_at` is the moment, by `now`, just before the first of them was fetched. Applying them again
        changes nothing. An override and an operator's suspension stay.

        Raises:
            Overtaken: The customer was projected since then; what was fetched may be older than that.
            OwnerUnknown: The customer pays for a plan of ours and has no account.
        """
        offer = await self.offer()
        account = await self._owner(picture)
        if account is None:
            if projection.pays_for_plan(picture, offer):
                raise OwnerUnknown
            return Applied(None)
        local = await self._lock(account.id)
        latest = await store.written_at(self._db, picture.customer.id)
        if latest is not None and latest >= fetched_at:
            raise Overtaken
        now = await self.now()
        after = projection.project(picture, local, offer, self._rules, now)
        await self._write(local, after, now, STRIPE)
        await store.touch(self._db, [each.id for each in picture.subscriptions], now)
        for price_id, plan in sorted(after.prices.items()):
            await store.remember_price(self._db, price_id, plan)
        for notice in transitions.notices_of(local, after, cause, picture, now):
            await self._notices.record(notice)
        return Applied(account.id, after.attention)

    async def suspend_due(self, *, at_most: int = 100) -> int:
        """Suspend whoever is owed for and has no grace left, without any event; return how many were due.

        Any number of workers may call it: each account is suspended once.
        """
        due = await dunning_store.accounts_whose_grace_is_over(self._db, at_most)
        for account_id in due:
            async with self._db.transaction():
                local = await self._lock(account_id)
                now = await self.now()
                over = [each for each in local.episodes if each.is_over_at(now)]
                after = projection.tick(local, await self.offer(), now)
                await self._write(local, after, now, CLOCK)
                cause = Cause(id=f"clock:{over[0].id if over else account_id}", kind="clock")
                for notice in transitions.notices_of(local, after, cause, None, now):
                    await self._notices.record(notice)
        return len(due)

    async def owner_of(self, fetched: FetchedSubscription) -> UUID | None:
        """Return the account that a subscription belongs to, or None; nothing is linked."""
        account = await self._accounts.of_customer(fetched.customer_id)
        if account is None:
            account = await self._account(parse_public_id("acc", fetched.account_reference or ""))
        return None if account is None else account.id

    async def due_to(self, account_id: UUID) -> tuple[Local, Projection]:
        """Return what stands of an account and what is due to it by its subscriptions now; writes nothing."""
        local = Local(
            account=await self._accounts.get(account_id),
            standings=await store.of_account(self._db, account_id),
            episodes=await dunning_store.open_of_account(self._db, account_id),
        )
        return local, projection.tick(local, await self.offer(), await self.now())

    async def _owner(self, picture: CustomerPicture) -> Account | None:
        """Find whose customer it is, and remember it. By link, by what stands here, by our own metadata."""
        customer = picture.customer
        account = await self._accounts.of_customer(customer.id)
        if account is None:
            account = await self._account(await self._account_id(picture))
        if account is None:
            return None
        if customer.is_deleted and account.stripe_customer_id == customer.id:
            return await self._accounts.link_customer(account.id, None, by=STRIPE)
        if account.stripe_customer_id is None and not customer.is_deleted:
            return await self._accounts.link_customer(account.id, customer.id, by=STRIPE)
        return account

    async def _account_id(self, picture: CustomerPicture) -> UUID | None:
        known = await store.owner_of_customer(self._db, picture.customer.id)
        references = [picture.customer.account_reference]
        references += [each.account_reference for each in picture.subscriptions]
        named = (parse_public_id("acc", each or "") for each in references)
        return known or next((each for each in named if each is not None), None)

    async def _account(self, account_id: UUID | None) -> Account | None:
        try:
            return None if account_id is None else await self._accounts.get(account_id)
        except NotFound:
            return None

    async def _lock(self, account_id: UUID) -> Local:
        return Local(
            account=await self._accounts.lock(account_id),
            standings=await store.of_account(self._db, account_id),
            episodes=await dunning_store.open_of_account(self._db, account_id),
        )

    async def offer(self) -> Offer:
        """Return the plans and the prices that grant them."""
        return Offer(
            plans=await self._plans.list(include_archived=True),
            plan_of_price=await store.plans_of_prices(self._db),
            fallback=self._rules.fallback_plan,
        )

    async def _write(self, local: Local, after: Projection, now: datetime, by: Actor) -> None:
        account = local.account
        await self._write_standings(local, after.standings, now, by)
        for episode in sorted(after.episodes, key=lambda each: each.closed_at is None):
            if episode not in local.episodes:
                await dunning_store.write(self._db, episode)
        for attempt in after.attempts:
            await dunning_store.want(self._db, attempt)
        if after.entitlement is not None:
            await self._accounts.entitle(account.id, after.entitlement, by=by)

    async def _write_standings(
        self, local: Local, standings: Sequence[Standing], now: datetime, by: Actor
    ) -> None:
        changed = [each for each in standings if each != local.standing(each.id)]
        if any(each.is_current for each in changed):
            await store.clear_current(self._db, local.account.id)
        for standing in sorted(changed, key=lambda each: each.is_current):
            await store.write(self._db, standing, now)
            before, after = transitions.changed_facts(local.standing(standing.id), standing)
            if after:
                await self._audit.record(
                    by, "changed", "subscription", standing.id, before=before or None, after=after
                )
