"""The months of this server are those of the ledger's SQL, and Stripe's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_factory.billing.periods import month_start, period_anchor
from api_factory.db import Database


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("anchor", "moment", "start"),
    [
        (at(2026, 1, 31), at(2026, 2, 28), at(2026, 2, 28)),
        (at(2026, 1, 31), at(2026, 3, 30, 23), at(2026, 2, 28)),
        (at(2026, 1, 31), at(2026, 3, 31), at(2026, 3, 31)),
        (at(2026, 3, 10), at(2026, 1, 9), at(2025, 12, 10)),
        (at(2024, 2, 29), at(2025, 3, 1), at(2025, 2, 28)),
    ],
)
async def test_months_are_counted_as_the_ledger_counts_them(
    database: Database, anchor: datetime, moment: datetime, start: datetime
) -> None:
    in_sql = await database.fetchval("SELECT starts FROM af_period($1, $2)", anchor, moment)
    assert (month_start(anchor, moment), in_sql) == (start, start)


moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


@given(anchor=moments, moment=moments)
def test_a_month_begins_before_what_it_holds_and_ends_after_it(anchor: datetime, moment: datetime) -> None:
    start = month_start(anchor, moment)
    assert start <= moment
    assert month_start(anchor, start) == start
    assert (moment - start).days <= 31


@given(cycle=moments, start=moments)
def test_what_is_counted_from_always_leads_to_the_period(cycle: datetime, start: datetime) -> None:
    assert month_start(period_anchor(cycle, start), start) == start
    assert period_anchor(None, start) == start
