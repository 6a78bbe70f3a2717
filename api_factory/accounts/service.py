"""Accounts and plans: who may call, and how much."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Final
from uuid import UUID

from api_factory import changes
from api_factory.accounts import store
from api_factory.accounts.inputs import checked_text, checked_units, is_storable
from api_factory.accounts.model import Account, AccountStatus, Entitlement, NewAccount, Plan, PlanChanges
from api_factory.audit import Actor, Audit
from api_factory.db import Database
from api_factory.errors import AlreadyExists, BadUserInput, InvalidState, NotFound
from api_factory.ids import parse_public_id, uuid7
from api_factory.rates import format_rates, parse_rates

LARGEST_PAGE: Final = 500
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f.]+(\.[^@\s\x00-\x1f\x7f.]+)+")
_VERBS: Final[Mapping[AccountStatus, tuple[str, ...]]] = {
    AccountStatus.ACTIVE: ("suspend",),
    AccountStatus.SUSPENDED: ("resume",),
    AccountStatus.UNPAID: ("suspend",),
}


class Plans:
    """What is on offer."""

    def __init__(self, db: Database, audit: Audit) -> None:
        self._db = db
        self._audit = audit

    async def apply(self, plans: Sequence[Plan], *, by: Actor) -> PlanChanges:
        """Make these the plans on offer; applying them again changes nothing.

        A plan that is not among them is archived, never deleted: accounts on it stay on it. Any number of
        processes may apply at once.
        """
        async with self._db.transaction():
            # First of all locks: a ledger batch holds it while it waits for an account, and an account's
            # change waits for plan rows.
            await changes.lock_plans(self._db)
            await store.lock_plan_table(self._db)
            standing = {plan.slug: plan for plan in await store.lock_plans(self._db)}
            found = _difference(standing, plans)
            if not (found.created or found.changed or found.archived):
                return found
            epoch = await changes.next_epoch(self._db)
            for plan in plans:
                if plan.slug in found.created:
                    await store.insert_plan(self._db, plan, epoch)
                elif plan.slug in found.changed:
                    await store.update_plan_row(self._db, plan, epoch)
            await store.archive_plans(self._db, found.archived, epoch)
            await self._record(found, standing, {plan.slug: plan for plan in plans}, by)
            await changes.notify(self._db, epoch)
            return found

    async def list(self, include_archived: bool = False) -> tuple[Plan, ...]:
        """Return the plans on offer in the order of the plans file, archived ones too when asked."""
        return tuple(plan for plan in await store.plans(self._db) if include_archived or not plan.archived)

    async def find(self, slug: str) -> Plan:
        """Return a plan, on offer or archived. Raises `NotFound`."""
        plan = await store.plan_by_slug(self._db, slug) if is_storable(slug) else None
        if plan is None:
            raise NotFound("There is no such plan; list the plans to see which there are.")
        return plan

    async def _record(
        self, found: PlanChanges, before: Mapping[str, Plan], after: Mapping[str, Plan], by: Actor
    ) -> None:
        for slug in found.created:
            await self._audit.record(by, "created", "plan", slug, before=None, after=_plan_facts(after[slug]))
        for slug in found.changed:
            old, new = _changed_facts(_plan_facts(before[slug]), _plan_facts(after[slug]))
            await self._audit.record(by, "changed", "plan", slug, before=old, after=new)
        for slug in found.archived:
            old, new = {"archived": False}, {"archived": True}
            await self._audit.record(by, "archived", "plan", slug, before=old, after=new)


class Accounts:
    """Customers: their plan, their overrides, and whether their keys work."""

    def __init__(self, db: Database, audit: Audit) -> None:
        self._db = db
        self._audit = audit

    async def create(
        self,
        email: str,
        *,
        name: str = "",
        plan: str = "free",
        quota_units: int | None = None,
        rate: str | None = None,
        by: Actor,
    ) -> Account:
        """Create an account on a plan on offer; `quota_units` and `rate` override the plan's.

        Raises `AlreadyExists` for a used e-mail (case does not matter), `NotFound` for an unknown plan,
        `BadUserInput` for the rest.
        """
        new = NewAccount(
            id=uuid7(),
            email=_checked_email(email),
            name=checked_text("name", name, longest=200),
            plan_slug=plan,
            quota_units=checked_units("quota", quota_units),
            rate=_checked_rate(rate),
        )
        async with self._db.transaction():
            await self._offered(plan)
            account = await store.insert_account(self._db, new)
            if account is None:
                raise AlreadyExists("An account has this e-mail already; use that one or another e-mail.")
            facts = _account_facts(account)
            await self._audit.record(by, "created", "account", account.public_id, before=None, after=facts)
            return account

    async def find(self, reference: str) -> Account:
        """Return the account with this public id or e-mail. Raises `NotFound`."""
        account_id = parse_public_id("acc", reference)
        if account_id is not None:
            return await self.get(account_id)
        if not is_storable(reference):
            return _existing(None)
        return _existing(await store.account_by_email(self._db, reference.strip().lower()))

    async def get(self, account_id: UUID) -> Account:
        """Return the account with this id. Raises `NotFound`."""
        return _existing(await store.account_by_id(self._db, account_id))

    async def list(self, *, after: UUID | None = None, first: int = 50) -> tuple[Account, ...]:
        """Return up to `first` accounts, the newest first, from behind the account `after`."""
        if not 0 <= first <= LARGEST_PAGE:
            raise BadUserInput(f"Ask for 0 to {LARGEST_PAGE} accounts at once.")
        return await store.accounts_page(self._db, after, first)

    async def set_plan(self, account_id: UUID, slug: str, *, by: Actor) -> Account:
        """Put an account on another plan on offer; its overrides stay. Holds for every later commit."""
        async with self._db.transaction():
            account = await self._lock(account_id)
            await self._offered(slug)
            return await self._change(account, replace(account, plan_slug=slug), "plan_changed", by)

    async def set_quota(self, account_id: UUID, units: int | None, *, reason: str, by: Actor) -> Account:
        """Override the plan's quota, or follow it again with None. Holds for every later commit."""
        units = checked_units("quota", units)
        reason = checked_text("reason", reason, longest=500, required=units is not None)
        async with self._db.transaction():
            account = await self._lock(account_id)
            changed = _with_reason(replace(account, quota_units=units), reason)
            return await self._change(account, changed, "quota_changed", by)

    async def set_rate(self, account_id: UUID, rate: str | None, *, reason: str, by: Actor) -> Account:
        """Override the plan's rate limits, or follow them again with None."""
        rate = _checked_rate(rate)
        reason = checked_text("reason", reason, longest=500, required=rate is not None)
        async with self._db.transaction():
            account = await self._lock(account_id)
            changed = _with_reason(replace(account, rate=rate), reason)
            return await self._change(account, changed, "rate_changed", by)

    async def suspend(self, account_id: UUID, *, reason: str, by: Actor) -> Account:
        """Stop every key of an account: no charge of theirs commits after this returns.

        Raises `InvalidState` when it is suspended already.
        """
        reason = checked_text("reason", reason, longest=500, required=True)
        async with self._db.transaction():
            account = await self._lock(account_id)
            _refuse_unless_allowed(account, "suspend")
            changed = _with_status(replace(account, suspended_reason=reason))
            return await self._change(account, changed, "suspended", by)

    async def resume(self, account_id: UUID, *, by: Actor) -> Account:
        """End an operator's suspension; the keys work again unless billing holds them.

        Raises `InvalidState` when no operator has suspended it.
        """
        async with self._db.transaction():
            account = await self._lock(account_id)
            _refuse_unless_allowed(account, "resume")
            changed = _with_status(replace(account, suspended_reason=None))
            return await self._change(account, changed, "resumed", by)

    async def lock(self, account_id: UUID) -> Account:
        """Keep an account as it is until the caller's transaction ends, and return it. Raises `NotFound`."""
        return await self._lock(account_id)

    async def entitle(self, account_id: UUID, entitlement: Entitlement, *, by: Actor) -> Account:
        """Give an account what billing says that it has; the same again changes nothing.

        Overrides and an operator's suspension stay as they are. Once this has returned no charge commits that
        the entitlement does not allow. An archived plan is given to whoever pays for it. Raises `NotFound`.
        """
        async with self._db.transaction():
            account = await self._lock(account_id)
            changed = _with_status(
                replace(
                    account,
                    plan_slug=entitlement.plan_slug,
                    granted_units=checked_units("granted quota", entitlement.granted_units),
                    billing_hold=entitlement.hold,
                    billing_hold_url=entitlement.hold_url if entitlement.hold is not None else None,
                    period_anchor=entitlement.period_anchor or account.period_anchor,
                )
            )
            if changed == account:
                return account
            return await self._change(account, changed, "entitled", by)

    async def of_customer(self, customer_id: str) -> Account | None:
        """Return the account that a customer of Stripe is, or None."""
        return await store.account_by_customer(self._db, customer_id)

    async def link_customer(self, account_id: UUID, customer_id: str | None, *, by: Actor) -> Account:
        """Remember which customer of Stripe an account is; None forgets it.

        Raises `NotFound`, and `AlreadyExists` when another account is that customer.
        """
        async with self._db.transaction():
            account = await self._lock(account_id)
            if account.stripe_customer_id == customer_id:
                return account
            other = None if customer_id is None else await self.of_customer(customer_id)
            if other is not None:
                raise AlreadyExists(f"The account {other.public_id} is that customer; unlink it first.")
            await store.update_customer(self._db, account_id, customer_id)
            before, after = (
                {"stripe_customer_id": account.stripe_customer_id},
                {"stripe_customer_id": customer_id},
            )
            await self._audit.record(by, "linked", "account", account.public_id, before=before, after=after)
            return replace(account, stripe_customer_id=customer_id)

    async def _lock(self, account_id: UUID) -> Account:
        await changes.lock_account(self._db, account_id)
        return _existing(await store.lock_account_by_id(self._db, account_id))

    async def _change(self, account: Account, changed: Account, verb: str, by: Actor) -> Account:
        epoch = await changes.next_epoch(self._db)
        changed = replace(changed, epoch=epoch)
        await store.update_account(self._db, changed)
        before, after = _changed_facts(_account_facts(account), _account_facts(changed))
        await self._audit.record(by, verb, "account", account.public_id, before=before, after=after)
        await changes.notify(self._db, epoch)
        return changed

    async def _offered(self, slug: str) -> None:
        plan = await store.lock_plan_shared(self._db, slug) if is_storable(slug) else None
        if plan is None:
            raise NotFound("There is no such plan; list the plans to see which there are.")
        if plan.archived:
            raise BadUserInput(f"The plan {slug} is not on offer any more; choose another one.")


def _difference(standing: Mapping[str, Plan], wanted: Sequence[Plan]) -> PlanChanges:
    slugs = {plan.slug for plan in wanted}
    return PlanChanges(
        created=tuple(plan.slug for plan in wanted if plan.slug not in standing),
        changed=tuple(plan.slug for plan in wanted if standing.get(plan.slug, plan) != plan),
        archived=tuple(slug for slug, plan in standing.items() if slug not in slugs and not plan.archived),
    )


def _plan_facts(plan: Plan) -> dict[str, object]:
    return asdict(plan) | {"scopes": None if plan.scopes is None else sorted(plan.scopes)}


def _account_facts(account: Account) -> dict[str, object]:
    facts = asdict(account)
    # The address of an invoice opens it to whoever knows it.
    left_out = ("id", "public_id", "created_at", "epoch", "billing_hold_url")
    return {name: facts[name] for name in facts if name not in left_out}


def _changed_facts(
    before: Mapping[str, object], after: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    names = [name for name in after if before[name] != after[name]]
    return {name: before[name] for name in names}, {name: after[name] for name in names}


def _existing(account: Account | None) -> Account:
    if account is None:
        raise NotFound("There is no such account; give its id, such as acc_…, or its e-mail.")
    return account


def _with_status(account: Account) -> Account:
    """Derive whether the keys work from the two that can keep them from it."""
    if account.suspended_reason is not None:
        return replace(account, status=AccountStatus.SUSPENDED)
    held = account.billing_hold is not None
    return replace(account, status=AccountStatus.UNPAID if held else AccountStatus.ACTIVE)


def _with_reason(account: Account, reason: str) -> Account:
    is_overridden = account.quota_units is not None or account.rate is not None
    return replace(account, override_reason=reason or account.override_reason if is_overridden else None)


def _refuse_unless_allowed(account: Account, verb: str) -> None:
    if verb not in _VERBS[account.status]:
        raise InvalidState(verb, account.status.value, _VERBS[account.status], subject="an account")


def _checked_email(text: str) -> str:
    """Return the address in lower case: in practice no provider tells addresses apart by case."""
    email = checked_text("e-mail", text, longest=320, required=True).lower()
    if len(email) > 320 or not _EMAIL.fullmatch(email):
        raise BadUserInput("The e-mail is not an address; write it like name@example.com.")
    return email


def _checked_rate(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        rate = format_rates(parse_rates(text))
    except ValueError as error:
        raise BadUserInput(str(error)) from None
    if len(rate) > 200:
        raise BadUserInput("The rate is longer than 200 characters; name fewer windows.")
    return rate
