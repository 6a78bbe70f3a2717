"""Accounts whose units are billed, a ledger to use them, and the fake Stripe that is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from api_factory.billing.meters import METER, Meters
from api_factory.billing.stripe import Stripe
from api_factory.db import Database
from api_factory.usage import Ledger, Line, Payer, RegisteredWorker, Usage
from tests.fake_stripe.process import KEY, FakeStripe, running
from tests.usage.conftest import Ground


@dataclass
class MeterGround(Ground):
    """The ledger's ground, with plans that bill units and a Stripe that counts them."""

    fake: FakeStripe
    stripe: Stripe
    meters: Meters

    async def billed(
        self,
        rule: str = "beyond",
        quota_units: int | None = 10,
        *,
        overage: str = "soft",
        linked: bool = True,
    ) -> tuple[UUID, str]:
        """Make an account on a plan of its own that bills units by a rule, and its customer at Stripe."""
        account_id = await self.account(quota_units, overage=overage)
        await self.db.execute(
            "UPDATE plan SET billed_units = $2 FROM account"
            " WHERE account.id = $1 AND plan.slug = account.plan",
            account_id,
            rule,
        )
        if not linked:
            return account_id, ""
        customer: str = self.fake.v1.customers.create().id
        await self.db.execute(
            "UPDATE account SET stripe_customer_id = $2 WHERE id = $1", account_id, customer
        )
        return account_id, customer

    async def use(self, payer: Payer, units: int) -> None:
        """Charge units."""
        await self.ledger.charge(payer, [Line("echo", units)], "r")

    async def windows(self, account_id: UUID) -> list[tuple[int, str]]:
        """Return units and state of the account's windows, in the order of their closing."""
        rows = await self.db.fetch(
            "SELECT units, state FROM meter_window WHERE account_id = $1 ORDER BY window_end, period_start",
            account_id,
        )
        return [(row["units"], row["state"]) for row in rows]

    async def make_due(self) -> None:
        """Let no pause and no lease hold a window back."""
        await self.db.execute("UPDATE meter_window SET next_attempt_at = af_now() WHERE state = 'pending'")

    def at_stripe(self, customer: str) -> int:
        """Return what Stripe has counted for a customer, of all time."""
        now = int(self.fake.look()["now"]) // 60 * 60 + 60
        wanted: Any = {"customer": customer, "start_time": now - 40 * 86_400, "end_time": now}
        meter = self.fake.v1.billing.meters.list().data[0]
        found = self.fake.v1.billing.meters.event_summaries.list(meter.id, wanted)
        return int(sum(each.aggregated_value for each in found.data))


def make_meter(fake: FakeStripe) -> None:
    """Make the meter, as `billing setup` does."""
    fake.v1.billing.meters.create(
        {
            "display_name": "Units",
            "event_name": METER,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
    )


@pytest.fixture(scope="session")
def one_fake() -> Iterator[FakeStripe]:
    """A fake Stripe for all tests of a process; each begins with an empty one."""
    with running("--seed", "1") as fake:
        yield fake


@pytest.fixture
def fake(one_fake: FakeStripe) -> FakeStripe:
    """An empty fake Stripe whose clock is the machine's."""
    one_fake.control("reset", seed="1")
    return one_fake


@pytest.fixture
async def metered(database: Database, fake: FakeStripe) -> AsyncIterator[MeterGround]:
    """An open ledger on an empty database, and a Stripe with the meter."""
    make_meter(fake)
    worker = RegisteredWorker(database)
    await worker.register()
    ledger = Ledger(database.connect, worker)
    await ledger.open()
    stripe = Stripe(KEY, base=fake.url, is_in_transaction=database.is_in_transaction, timeout_seconds=2)
    yield MeterGround(database, worker, ledger, Usage(database), fake, stripe, Meters(database, stripe))
    await stripe.close()
    await ledger.close()
    await worker.sign_off()
