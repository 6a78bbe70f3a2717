"""Amounts of money as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

# Stripe: "Zero-decimal currencies" and "Three-decimal currencies", docs.stripe.com/currencies.
_DECIMALS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd"), 0),
    **dict.fromkeys(("vuv", "xaf", "xof", "xpf"), 0),
    **dict.fromkeys(("bhd", "jod", "kwd", "omr", "tnd"), 3),
}


def decimals_of(currency: str) -> int:
    """Return how many decimals an amount has in this currency, an ISO 4217 code in lower case."""
    return _DECIMALS.get(currency, 2)


def format_amount(amount: int | Decimal, currency: str) -> str:
    """Return an amount of the smallest unit as people write it: 2900 usd is `29.00 USD`.

    A fraction of the smallest unit keeps its decimals: 0.5 usd is `0.005 USD`.
    """
    decimals = decimals_of(currency)
    value = Decimal(amount).scaleb(-decimals)
    exponent = value.normalize().as_tuple().exponent
    shown = max(decimals, -exponent if isinstance(exponent, int) else 0)
    return f"{value:.{shown}f} {currency.upper()}"
