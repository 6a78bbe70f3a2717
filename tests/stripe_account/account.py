"""A Stripe account to tell stories on: a real test account where there is a key for one, else our stand-in.

Nothing is used here but what Stripe offers: the official client, test cards and test clocks. So the same
stories judge both, and the stand-in is caught where it tells one differently.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import stripe

from tests.fake_stripe.judged import JudgedClient
from tests.fake_stripe.process import running

KEY_VARIABLE = "STRIPE_TEST_KEY"
_ADVANCE_SECONDS = 300


@dataclass
class Account:
    """The account: the client's services, and what was made on it, to be put away in the end."""

    v1: Any
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    clocks: list[str] = field(default_factory=list)
    products: list[str] = field(default_factory=list)

    def clock(self) -> Clock:
        """Make a test clock that shows the time of now."""
        made = self.v1.test_helpers.test_clocks.create({"frozen_time": int(time.time()), "name": self.run})
        self.clocks.append(made.id)
        return Clock(self, made.id, made.frozen_time)

    def price(self, cents: int, **params: Any) -> str:
        """Make a monthly price of a product of its own."""
        product = self.v1.products.create({"name": f"Test {self.run}"}).id
        self.products.append(product)
        monthly = {"product": product, "currency": "usd", "recurring": {"interval": "month"}}
        name: str = self.v1.prices.create({**monthly, "unit_amount": cents, **params}).id
        return name

    def close(self) -> None:
        """Delete the clocks, with all customers of theirs, and archive the products."""
        for name in self.clocks:
            self.v1.test_helpers.test_clocks.delete(name)
        for name in self.products:
            self.v1.products.update(name, {"active": False})


@dataclass
class Clock:
    """A test clock and the customers that live by it."""

    account: Account
    name: str
    now: int

    def customer(self, card: str = "pm_card_visa") -> str:
        """Make a customer of this clock with a card, which is the default."""
        made: str = self.account.v1.customers.create(
            {"test_clock": self.name, "email": "buyer@example.com"}
        ).id
        self.use_card(made, card)
        return made

    def use_card(self, customer: str, card: str) -> None:
        """Make a test card the customer's default."""
        v1 = self.account.v1
        method = v1.payment_methods.attach(card, {"customer": customer}).id
        v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})

    def advance(self, to: int) -> None:
        """Move the clock on, and wait until all that falls due has happened."""
        clocks = self.account.v1.test_helpers.test_clocks
        clocks.advance(self.name, {"frozen_time": to})
        deadline = time.monotonic() + _ADVANCE_SECONDS
        while (found := clocks.retrieve(self.name)).status != "ready":
            assert found.status == "advancing"
            assert time.monotonic() < deadline
            time.sleep(1)
        self.now = to


@contextmanager
def opened() -> Iterator[Account]:
    """Open the account of STRIPE_TEST_KEY, or a stand-in; refuse every key but a test key."""
    key = os.environ.get(KEY_VARIABLE)
    if key is None:
        with running("--stands-at", str(int(time.time()))) as fake:
            yield from _with(Account(fake.v1))
        return
    assert key.startswith(("sk_test_", "rk_test_")), f"{KEY_VARIABLE} has to be a test key"
    yield from _with(Account(stripe.StripeClient(key, http_client=JudgedClient()).v1))


def _with(account: Account) -> Iterator[Account]:
    try:
        yield account
    finally:
        account.close()
