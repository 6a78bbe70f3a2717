"""What the tests of billing stand on: services on a real database, a fake Stripe, and shorthands."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from api_factory.accounts import Account, Accounts, Plan, Plans
from api_factory.audit import Actor, Audit
from api_factory.billing.attempts import PaymentAttempts
from api_factory.billing.inbox import Inbox, InboxWorker
from api_factory.billing.model import BillingRules, Episode, Standing
from api_factory.billing.reconcile import Reconciliation
from api_factory.billing.service import Billing
from api_factory.billing.stripe import Stripe, event_of
from api_factory.db import Database
from api_factory.keys import IssuedKey, Keys, NewKey
from api_factory.notices import Channels, Notices
from tests.fake_stripe.process import KEY, FakeStripe
from tests.fake_stripe.shop import Shop

BY = Actor("staff", "staff_1")
SECRET = "whsec_of_the_tests"
PLANS = (
    Plan(slug="free", name="Free", quota_units=1_000),
    Plan(slug="pro", name="Pro", quota_units=100_000, stripe_lookup_key="pro", trial_quota_units=500),
    Plan(slug="scale", name="Scale", quota_units=5_000_000, stripe_lookup_key="scale"),
)


@dataclass
class Ground:
    """Everything at once. The account is linked to `customer`, whose card is good until told otherwise."""

    db: Database
    fake: FakeStripe
    shop: Shop
    stripe: Stripe
    accounts: Accounts
    keys: Keys
    billing: Billing
    inbox: Inbox
    worker: InboxWorker
    attempts: PaymentAttempts
    reconciliation: Reconciliation
    audit: Audit
    account_id: UUID = field(init=False)
    customer: str = field(init=False)
    key: IssuedKey = field(init=False)
    counted: list[tuple[str, str]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    @classmethod
    async def open(cls, db: Database, fake: FakeStripe, rules: BillingRules | None = None) -> Ground:
        """Build the services, apply the plans, and make the buyer."""
        audit = Audit(db)
        accounts, plans = Accounts(db, audit), Plans(db, audit)
        await plans.apply(PLANS, by=BY)
        stripe = Stripe(KEY, base=fake.url, is_in_transaction=db.is_in_transaction)
        billing = Billing(
            db,
            audit,
            accounts,
            plans,
            Notices(db, Channels()),
            rules or BillingRules(grace=timedelta(days=7)),
        )
        counted: list[tuple[str, str]] = []
        inbox = Inbox(
            db, audit, stripe, (SECRET,), observe=lambda kind, outcome: counted.append((kind, outcome))
        )
        ground = cls(
            db=db,
            fake=fake,
            shop=Shop.open(fake),
            stripe=stripe,
            accounts=accounts,
            keys=Keys(db, audit, {1: b"p" * 32}),
            billing=billing,
            inbox=inbox,
            worker=InboxWorker(db, billing, inbox),
            attempts=PaymentAttempts(db, audit, inbox),
            reconciliation=Reconciliation(db, billing, inbox),
            audit=audit,
            counted=counted,
        )
        await ground._make_buyer()
        return ground

    async def _make_buyer(self) -> None:
        account = await self.accounts.create("buyer@example.com", by=BY)
        self.account_id = account.id
        self.customer = self.shop.customer()
        await self.accounts.link_customer(account.id, self.customer, by=BY)
        self.key = await self.keys.create(account.id, NewKey(name="main"), by=BY)

    async def close(self) -> None:
        """End the connections."""
        await self.stripe.close()

    def subscribe(self, price: str | None = None, **params: Any) -> Any:
        """Let the buyer subscribe at Stripe; nothing is told here yet."""
        return self.shop.subscribe(price, customer=self.customer, **params)

    def events(self) -> list[bytes]:
        """Return every event that Stripe has made since the last call, in the order it made them."""
        found = list(self.fake.v1.events.list({"limit": 100}).auto_paging_iter())
        news = [event for event in reversed(found) if event.id not in self.taken]
        self.taken |= {event.id for event in news}
        return [json.dumps(event.to_dict(for_json=True)).encode() for event in news]

    async def deliver(self, bodies: list[bytes] | None = None) -> None:
        """Take in events, by default all that are new, and work them off."""
        for body in self.events() if bodies is None else bodies:
            await self.inbox.add(event_of(body), "webhook")
        await self.worker.drain()

    async def advance(self, **by: int) -> None:
        """Move Stripe's clock and the database's on by as much."""
        self.fake.advance(seconds=round(timedelta(**by).total_seconds()))
        ahead = await self.db.fetchval("SELECT af_now() - clock_timestamp()") + timedelta(**by)
        await self.set_ahead(seconds=round(ahead.total_seconds()))

    async def set_ahead(self, **by: int) -> None:
        """Let the database's clock be so much ahead of the machine's."""
        await self.db.execute(
            "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
            f" 'SELECT clock_timestamp() + interval ''{round(timedelta(**by).total_seconds())} seconds'''"
        )

    async def account(self) -> Account:
        """Return the buyer's account as it is."""
        return await self.accounts.get(self.account_id)

    async def access(self) -> tuple[str, str]:
        """Return the account's plan and status."""
        account = await self.account()
        return account.plan_slug, account.status.value

    async def standings(self) -> tuple[Standing, ...]:
        """Return the account's subscriptions."""
        return await self.billing.subscriptions(self.account_id)

    async def episodes(self) -> tuple[Episode, ...]:
        """Return the account's dunning episodes."""
        return await self.billing.episodes(self.account_id)

    async def states(self) -> dict[str, int]:
        """Return how many events of the inbox are in each state."""
        rows = await self.db.fetch("SELECT state, count(*) FROM stripe_event GROUP BY 1")
        return {row["state"]: row["count"] for row in rows}

    async def notices(self) -> list[str]:
        """Return the kinds of the notices recorded, the oldest first."""
        return [row["kind"] for row in await self.db.fetch("SELECT kind FROM notice ORDER BY created_at, id")]
