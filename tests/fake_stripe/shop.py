"""A seller to test with: two plans, a meter, and the moves that stories are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.fake_stripe.process import FakeStripe

NOW = 1_769_860_800  # 2026-01-31 12:00 UTC, a day that February lacks
DAY = 86_400
HOUR = 3_600


@dataclass(frozen=True, slots=True)
class Shop:
    """The seller's side: ids of his prices, and shorthands that read as what people do."""

    fake: FakeStripe
    product: str
    pro: str
    scale: str
    meter: str
    metered: str

    @classmethod
    def open(cls, fake: FakeStripe) -> Shop:
        """Make the product, its prices (20 and 50 dollars a month, half a cent a unit) and the meter."""
        v1 = fake.v1
        product = v1.products.create({"name": "API"}).id
        meter = v1.billing.meters.create(
            {"display_name": "Units", "event_name": "units", "default_aggregation": {"formula": "sum"}}
        ).id
        monthly = {"product": product, "currency": "usd", "recurring": {"interval": "month"}}
        by_usage = {"interval": "month", "usage_type": "metered", "meter": meter}
        pro = v1.prices.create({**monthly, "unit_amount": 2_000, "lookup_key": "pro"}).id
        scale = v1.prices.create({**monthly, "unit_amount": 5_000, "lookup_key": "scale"}).id
        metered = v1.prices.create({**monthly, "unit_amount_decimal": "0.5", "recurring": by_usage}).id
        return cls(fake, product, pro, scale, meter, metered)

    @property
    def v1(self) -> Any:
        """The official package's services."""
        return self.fake.v1

    def customer(self, card: str | None = "pm_card_visa") -> str:
        """Return a customer with a card, which is the default."""
        name: str = self.v1.customers.create({"email": "buyer@example.com"}).id
        if card is not None:
            self.fake.control(f"customers/{name}/card", card=card)
        return name

    def subscribe(self, price: str | None = None, *, customer: str | None = None, **params: Any) -> Any:
        """Return a fresh subscription to the pro plan or another price."""
        return self.v1.subscriptions.create(
            {"customer": customer or self.customer(), "items": [{"price": price or self.pro}], **params}
        )

    def card(self, subscription: Any, behaviour: str) -> None:
        """Let the customer's default card behave so from now on."""
        customer = self.v1.customers.retrieve(subscription.customer)
        self.fake.control(f"cards/{customer.invoice_settings.default_payment_method}", behaviour=behaviour)

    def now(self, subscription: Any) -> Any:
        """Return the subscription as it is now."""
        return self.v1.subscriptions.retrieve(subscription.id)

    def invoice(self, subscription: Any) -> Any:
        """Return the subscription's latest invoice."""
        return self.v1.invoices.retrieve(self.now(subscription).latest_invoice)

    def types(self, start: int = 0) -> list[str]:
        """Return the types of the events so far, oldest first, from a place on."""
        events = list(self.v1.events.list({"limit": 100}).auto_paging_iter())
        return [event.type for event in reversed(events)][start:]

    def click(self, url: str, **fields: str) -> httpx.Response:
        """Send the form of a page, without following where it sends the browser."""
        return httpx.post(url, data=fields, trust_env=False)


def item(subscription: Any) -> Any:
    """Return the one item of a subscription."""
    (found,) = subscription["items"].data
    return found
