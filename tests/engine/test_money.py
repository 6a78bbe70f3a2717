from __future__ import annotations

from decimal import Decimal

import pytest

from api_factory.money import format_amount


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (2_900, "usd", "29.00 USD"),
        (0, "eur", "0.00 EUR"),
        (500, "jpy", "500 JPY"),
        (1_234, "kwd", "1.234 KWD"),
        (Decimal("0.02"), "usd", "0.0002 USD"),
        (Decimal("0.5"), "jpy", "0.5 JPY"),
        (10**17, "usd", "1000000000000000.00 USD"),
    ],
)
def test_an_amount_is_shown_with_the_decimals_of_its_currency(
    amount: int | Decimal, currency: str, shown: str
) -> None:
    assert format_amount(amount, currency) == shown
