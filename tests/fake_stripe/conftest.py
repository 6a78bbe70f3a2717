"""One fake Stripe for each worker, emptied before each test; its clock stands until a test advances it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fake_stripe.process import FakeStripe, running
from tests.fake_stripe.receiver import Receiver, listening
from tests.fake_stripe.shop import NOW, Shop


@pytest.fixture(scope="session")
def process() -> Iterator[FakeStripe]:
    """The process, for as long as the tests run."""
    with running() as fake:
        yield fake


@pytest.fixture
def fake(process: FakeStripe) -> FakeStripe:
    """A Stripe that knows nothing yet, at 2026-01-31 12:00 UTC."""
    process.control("reset", seed="1", stands_at=NOW)
    return process


@pytest.fixture
def v1(fake: FakeStripe) -> Any:
    """The official package's services."""
    return fake.v1


@pytest.fixture
def shop(fake: FakeStripe) -> Shop:
    """A seller with two plans and a metered price."""
    return Shop.open(fake)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook endpoint that answers 200."""
    with listening() as found:
        yield found
