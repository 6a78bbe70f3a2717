"""All routes of the API, gathered from the resources."""

from __future__ import annotations

from itertools import chain

from fake_stripe.resources import (
    account,
    checkout_sessions,
    customers,
    events,
    invoices,
    meters,
    payment_intents,
    payment_methods,
    portal,
    prices,
    products,
    subscription_items,
    subscription_schedules,
    subscriptions,
    test_clocks,
    webhook_endpoints,
)
from fake_stripe.router import Route

ROUTES: tuple[Route, ...] = tuple(
    chain.from_iterable(
        module.ROUTES
        for module in (
            account,
            checkout_sessions,
            customers,
            events,
            invoices,
            meters,
            payment_intents,
            payment_methods,
            portal,
            prices,
            products,
            subscription_items,
            subscription_schedules,
            subscriptions,
            test_clocks,
            webhook_endpoints,
        )
    )
)
"""All that the API answers."""
