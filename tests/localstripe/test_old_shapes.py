"""Billing against an independent Stripe whose events have the shapes of 2017.

Signatures, form encoding and the way of a subscription through failure and recovery are localstripe's own, so
a misunderstanding that our stand-in shares with us would show here. It has no Checkout, meters or retries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import stripe

from api_factory.accounts import Accounts, AccountStatus, Plan, Plans
from api_factory.audit import Actor, Audit
from api_factory.billing.inbox import Inbox, InboxWorker
from api_factory.billing.model import BillingRules
from api_factory.billing.service import Billing
from api_factory.billing.stripe import Stripe
from api_factory.db import Database
from api_factory.errors import WebhookRefused
from api_factory.notices import Channels, Notices
from tests.fake_stripe.receiver import Delivery, Receiver, listening
from tests.localstripe.process import KEY, LocalStripe, running
from tests.localstripe.translator import translating

BY = Actor("staff", "staff_1")
SECRET = "whsec_of_the_tests"
GOOD, ASKS_EACH_TIME = "4242424242424242", "4000000000003220"
PLANS = (Plan(slug="free", name="Free", quota_units=1_000), Plan(slug="pro", name="Pro", quota_units=100_000))


@dataclass
class Ground:
    """Our services on a real database, localstripe, and what it has sent so far."""

    db: Database
    local: LocalStripe
    receiver: Receiver
    inbox: Inbox
    worker: InboxWorker
    billing: Billing
    accounts: Accounts
    account_id: Any
    customer: str
    taken: list[Delivery] = field(default_factory=list)

    async def deliver(self, last: str) -> list[str]:
        """Wait for an event of a type, take in all that came, and return their types as they arrived."""
        deadline = time.monotonic() + 60
        while last not in [one.event["type"] for one in self.receiver.deliveries[len(self.taken) :]]:
            assert time.monotonic() < deadline, self.receiver.types
            await asyncio.sleep(0.05)
        news = self.receiver.deliveries[len(self.taken) :]
        for delivery in news:
            await self.inbox.receive(delivery.body, delivery.signature)
        self.taken += news
        await self.worker.drain()
        return [delivery.event["type"] for delivery in news]

    async def access(self) -> tuple[str, str]:
        """Return the account's plan and status."""
        account = await self.accounts.get(self.account_id)
        return account.plan_slug, account.status.value


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStripe]:
    with running(tmp_path_factory.mktemp("localstripe")) as found:
        yield found


@pytest.fixture
async def ground(database: Database, local: LocalStripe) -> AsyncIterator[Ground]:
    audit = Audit(database)
    accounts, plans = Accounts(database, audit), Plans(database, audit)
    await plans.apply(PLANS, by=BY)
    billing = Billing(
        database, audit, accounts, plans, Notices(database, Channels()), BillingRules(grace=timedelta(days=7))
    )
    account = await accounts.create("buyer@example.com", by=BY)
    customer = local.client().customers.create({"email": "buyer@example.com"}).id
    await accounts.link_customer(account.id, customer, by=BY)
    with listening() as receiver, translating(local.url) as url:
        ours = Stripe(KEY, base=url, is_in_transaction=database.is_in_transaction)
        inbox = Inbox(database, audit, ours, (SECRET,))
        local.send_events_to(receiver.url, SECRET)
        yield Ground(
            db=database,
            local=local,
            receiver=receiver,
            inbox=inbox,
            worker=InboxWorker(database, billing, inbox),
            billing=billing,
            accounts=accounts,
            account_id=account.id,
            customer=customer,
        )
        await ours.close()


def _subscribe(ground: Ground) -> Any:
    v1 = ground.local.client()
    product = v1.products.create({"name": "Pro", "type": "service"}).id
    plan = {"product": product, "currency": "usd", "amount": 2_000, "interval": "month"}
    price = v1.plans.create({**plan, "metadata": {"api_factory_plan": "pro"}}).id
    ground.local.use_card(ground.customer, GOOD)
    return v1.subscriptions.create({"customer": ground.customer, "items": [{"plan": price}]})


def _fail(ground: Ground, subscription: Any) -> str:
    """Let an invoice of the subscription fail, and return its id."""
    v1 = ground.local.client()
    ground.local.use_card(ground.customer, ASKS_EACH_TIME)
    draft = v1.invoices.create({"customer": ground.customer, "subscription": subscription.id})
    invoice = v1.invoices.pay(draft.id)
    ground.local.refuse_authentication(invoice.to_dict()["payment_intent"])
    failed: str = invoice.id
    return failed


async def test_an_event_of_2017_gives_the_plan_that_the_object_has_now(ground: Ground) -> None:
    subscription = _subscribe(ground)
    await ground.deliver("customer.subscription.created")
    assert {delivery.event["api_version"] for delivery in ground.taken} == {"2017-08-15"}
    assert await ground.access() == ("pro", "ACTIVE")
    (standing,) = await ground.billing.subscriptions(ground.account_id)
    assert (standing.id, standing.status) == (subscription.id, "active")
    assert standing.current_period_start is not None


async def test_its_signatures_verify_and_a_changed_byte_does_not(ground: Ground) -> None:
    _subscribe(ground)
    await ground.deliver("customer.subscription.created")
    delivery = ground.taken[0]
    assert stripe.Webhook.construct_event(delivery.body, delivery.signature, SECRET).id
    with pytest.raises(WebhookRefused):
        await ground.inbox.receive(delivery.body + b" ", delivery.signature)
    with pytest.raises(WebhookRefused):
        await ground.inbox.receive(delivery.body, delivery.signature.replace("v1=", "v1=0"))


async def test_a_failure_opens_a_grace_that_ends_access_and_a_payment_gives_it_back(ground: Ground) -> None:
    subscription = _subscribe(ground)
    await ground.deliver("customer.subscription.created")
    invoice = _fail(ground, subscription)
    await ground.deliver("invoice.payment_failed")
    assert await ground.access() == ("pro", "ACTIVE")
    (episode,) = await ground.billing.episodes(ground.account_id)
    assert (episode.invoice_id, episode.grace_ends_at - episode.opened_at) == (invoice, timedelta(days=7))
    await ground.db.execute(
        "CREATE OR REPLACE FUNCTION af_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
        " 'SELECT clock_timestamp() + interval ''8 days'''"
    )
    assert await ground.billing.suspend_due() == 1
    assert (await ground.access())[1] == AccountStatus.UNPAID.value
    ground.local.use_card(ground.customer, GOOD)
    ground.local.client().invoices.pay(invoice)
    await ground.deliver("invoice.payment_succeeded")
    assert await ground.access() == ("pro", "ACTIVE")


async def test_its_end_takes_the_plan(ground: Ground) -> None:
    subscription = _subscribe(ground)
    await ground.deliver("customer.subscription.created")
    ground.local.client().subscriptions.cancel(subscription.id)
    await ground.deliver("customer.subscription.deleted")
    assert await ground.access() == ("free", "ACTIVE")
