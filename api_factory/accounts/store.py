"""The statements of accounts and plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from api_factory.accounts.model import Account, AccountStatus, NewAccount, Plan
from api_factory.db import Database
from api_factory.ids import public_id

# ruff: noqa: S608 - the only text put into a statement is one of these two lists of columns
_ACCOUNT: Final = (
    "id, email, name, plan, status, suspended_reason, quota_units, rate, override_reason, "
    "stripe_customer_id, granted_units, billing_hold, billing_hold_url, period_anchor, created_at, epoch"
)
_PLAN: Final = (
    "slug, name, description, price_cents, currency, billing_interval, stripe_lookup_key, quota_units, "
    "test_quota_units, rate, scopes, overage, billed_units, overage_lookup_key, overage_price_cents, "
    "overage_per_units, trial_days, trial_quota_units, quantity_rule, key_limit, sort_order, archived_at"
)


async def insert_account(db: Database, account: NewAccount) -> Account | None:
    """Insert an account whose periods count from now; return None when the e-mail is taken."""
    row = await db.fetchrow(
        "INSERT INTO account"
        " (id, email, name, plan, quota_units, rate, status, period_anchor, created_at, epoch)"
        " SELECT $1, $2, $3, $4, $5, $6, 'ACTIVE', now_at, now_at, 0 FROM af_now() AS now_at"
        f" ON CONFLICT (email) DO NOTHING RETURNING {_ACCOUNT}",
        account.id,
        account.email,
        account.name,
        account.plan_slug,
        account.quota_units,
        account.rate,
    )
    return None if row is None else _account(row)


async def account_by_id(db: Database, account_id: UUID) -> Account | None:
    """Return an account or None."""
    row = await db.fetchrow(f"SELECT {_ACCOUNT} FROM account WHERE id = $1", account_id)
    return None if row is None else _account(row)


async def account_by_email(db: Database, email: str) -> Account | None:
    """Return the account with this e-mail, written in lower case, or None."""
    row = await db.fetchrow(f"SELECT {_ACCOUNT} FROM account WHERE email = $1", email)
    return None if row is None else _account(row)


async def lock_account_by_id(db: Database, account_id: UUID) -> Account | None:
    """Lock an account's row until the transaction ends and return it, or None."""
    row = await db.fetchrow(f"SELECT {_ACCOUNT} FROM account WHERE id = $1 FOR NO KEY UPDATE", account_id)
    return None if row is None else _account(row)


async def accounts_page(db: Database, after: UUID | None, first: int) -> tuple[Account, ...]:
    """Return up to `first` accounts older than `after`, the newest first."""
    rows = await db.fetch(
        f"SELECT {_ACCOUNT} FROM account WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
        after,
        first,
    )
    return tuple(_account(row) for row in rows)


async def update_account(db: Database, account: Account) -> None:
    """Write what the control plane may change of an account over its row, and the epoch of the change."""
    await db.execute(
        "UPDATE account SET plan = $2, status = $3, suspended_reason = $4, quota_units = $5, rate = $6,"
        " override_reason = $7, granted_units = $8, billing_hold = $9, billing_hold_url = $10,"
        " period_anchor = $11, epoch = $12 WHERE id = $1",
        account.id,
        account.plan_slug,
        account.status.value,
        account.suspended_reason,
        account.quota_units,
        account.rate,
        account.override_reason,
        account.granted_units,
        account.billing_hold,
        account.billing_hold_url,
        account.period_anchor,
        account.epoch,
    )


async def account_by_customer(db: Database, customer_id: str) -> Account | None:
    """Return the account that a customer of Stripe is linked to, or None."""
    row = await db.fetchrow(f"SELECT {_ACCOUNT} FROM account WHERE stripe_customer_id = $1", customer_id)
    return None if row is None else _account(row)


async def update_customer(db: Database, account_id: UUID, customer_id: str | None) -> None:
    """Write which customer of Stripe an account is; it decides nothing, so no epoch is taken."""
    await db.execute("UPDATE account SET stripe_customer_id = $2 WHERE id = $1", account_id, customer_id)


async def plans(db: Database) -> tuple[Plan, ...]:
    """Return every plan, archived ones too, in the order of the plans file."""
    rows = await db.fetch(f"SELECT {_PLAN} FROM plan ORDER BY sort_order, slug")
    return tuple(_plan(row) for row in rows)


async def plan_by_slug(db: Database, slug: str) -> Plan | None:
    """Return a plan or None."""
    row = await db.fetchrow(f"SELECT {_PLAN} FROM plan WHERE slug = $1", slug)
    return None if row is None else _plan(row)


async def lock_plan_shared(db: Database, slug: str) -> Plan | None:
    """Keep a plan as it is until the transaction ends and return it, or None."""
    row = await db.fetchrow(f"SELECT {_PLAN} FROM plan WHERE slug = $1 FOR SHARE", slug)
    return None if row is None else _plan(row)


async def lock_plan_table(db: Database) -> None:
    """Let one transaction at a time change the set of plans; readers and accounts go on."""
    await db.execute("LOCK TABLE plan IN SHARE ROW EXCLUSIVE MODE")


async def lock_plans(db: Database) -> tuple[Plan, ...]:
    """Lock every plan's row until the transaction ends and return them."""
    rows = await db.fetch(f"SELECT {_PLAN} FROM plan ORDER BY slug FOR NO KEY UPDATE")
    return tuple(_plan(row) for row in rows)


async def insert_plan(db: Database, plan: Plan, epoch: int) -> None:
    """Insert a plan."""
    values = (*_values(plan), None, epoch)
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await db.execute(f"INSERT INTO plan ({_PLAN}, epoch) VALUES ({places})", *values)


async def update_plan_row(db: Database, plan: Plan, epoch: int) -> None:
    """Write a plan over the one with its slug and put it on offer."""
    columns = (*_PLAN.split(", "), "epoch")
    assignments = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, 1))
    await db.execute(f"UPDATE plan SET {assignments} WHERE slug = $1", *_values(plan), None, epoch)


async def archive_plans(db: Database, slugs: Sequence[str], epoch: int) -> None:
    """Take plans off the offer; accounts on them stay."""
    await db.execute(
        "UPDATE plan SET archived_at = af_now(), epoch = $2 WHERE slug = ANY ($1::varchar[])",
        list(slugs),
        epoch,
    )


def _values(plan: Plan) -> tuple[object, ...]:
    return (
        plan.slug,
        plan.name,
        plan.description,
        plan.price_cents,
        plan.currency,
        plan.billing_interval,
        plan.stripe_lookup_key,
        plan.quota_units,
        plan.test_quota_units,
        plan.rate,
        None if plan.scopes is None else sorted(plan.scopes),
        plan.overage,
        plan.billed_units,
        plan.overage_lookup_key,
        plan.overage_price_cents,
        plan.overage_per_units,
        plan.trial_days,
        plan.trial_quota_units,
        plan.quantity_rule,
        plan.key_limit,
        plan.sort_order,
    )


def _plan(row: asyncpg.Record) -> Plan:
    facts = dict(row)
    facts["scopes"] = None if row["scopes"] is None else frozenset(row["scopes"])
    facts["archived"] = facts.pop("archived_at") is not None
    return Plan(**facts)


def _account(row: asyncpg.Record) -> Account:
    facts = dict(row)
    facts["plan_slug"] = facts.pop("plan")
    facts["status"] = AccountStatus(row["status"])
    return Account(public_id=public_id("acc", row["id"]), **facts)
