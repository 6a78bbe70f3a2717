"""A seller between a real database and a fake Stripe in its own process, and a buyer with an account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from api_factory.db import Database
from tests.billing.ground import Ground
from tests.fake_stripe.process import FakeStripe, running


@pytest.fixture(scope="session")
def stripe_process() -> Iterator[FakeStripe]:
    """The fake Stripe, for as long as the tests of this worker run."""
    with running("--seed", "1") as fake:
        yield fake


@pytest.fixture
async def ground(database: Database, stripe_process: FakeStripe) -> AsyncIterator[Ground]:
    """Both sides, empty but for plans, prices, one account and its key; both clocks are the machine's."""
    stripe_process.control("reset", seed="1")
    opened = await Ground.open(database, stripe_process)
    yield opened
    await opened.close()
