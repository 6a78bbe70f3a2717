from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits.limits import RateLimitItemPerMinute, RateLimitItemPerSecond

from api_factory.rates import Rate, format_rates, parse_rates, window_name

rates = st.builds(
    lambda limit, window_seconds: Rate(limit, window_seconds, window_name(window_seconds)),
    st.integers(1, 2**31 - 1),
    st.integers(1, 366 * 86_400),
)


def test_rates_are_read_shortest_window_first() -> None:
    assert parse_rates("600/minute; 10/second") == (Rate(10, 1, "second"), Rate(600, 60, "minute"))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100 per 5 minute", Rate(100, 300, "300s")),
        ("5/90 seconds", Rate(5, 90, "90s")),
        ("7/60 second", Rate(7, 60, "minute")),
        ("1 per hour", Rate(1, 3_600, "hour")),
        ("3/24 hours", Rate(3, 86_400, "day")),
        ("9/month", Rate(9, 2_592_000, "2592000s")),
    ],
)
def test_a_window_has_one_name_however_it_is_written(text: str, rate: Rate) -> None:
    assert parse_rates(text) == (rate,)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", 'The rate is empty; write it as "10/second;600/minute" or "100 per 5 minute".'),
        ("  ", 'The rate is empty; write it as "10/second;600/minute" or "100 per 5 minute".'),
        ("fast", '\'fast\' is not a rate; write it as "10/second;600/minute" or "100 per 5 minute".'),
        (
            "10/fortnight",
            '\'10/fortnight\' is not a rate; write it as "10/second;600/minute" or "100 per 5 minute".',
        ),
        (
            "-1/second",
            '\'-1/second\' is not a rate; write it as "10/second;600/minute" or "100 per 5 minute".',
        ),
        (
            "1/0 second",
            '\'1/0 second\' is not a rate; write it as "10/second;600/minute" or "100 per 5 minute".',
        ),
        ("1\u0661/second", None),
        ("0/second", "'0/second' allows 0 calls; a limit is from 1 to 2147483647."),
        ("2147483648/day", "'2147483648/day' allows 2147483648 calls; a limit is from 1 to 2147483647."),
        ("1/2 year", "'1/2 year' has a window of 62208000 s; the longest is 366 days."),
        ("1/minute;2/60 seconds", "'1/minute;2/60 seconds' limits the window of 60 s twice; keep one."),
    ],
)
def test_a_wrong_rate_is_refused_with_a_sentence(text: str, sentence: str | None) -> None:
    with pytest.raises(ValueError, match=r"\.$") as refusal:
        parse_rates(text)
    if sentence is not None:
        assert str(refusal.value) == sentence


@given(st.lists(rates, min_size=1, unique_by=lambda rate: rate.window_seconds))
def test_what_is_written_reads_back_the_same(some: list[Rate]) -> None:
    in_order = tuple(sorted(some, key=lambda rate: rate.window_seconds))

    assert parse_rates(format_rates(some)) == in_order


@given(st.text())
def test_any_text_is_read_or_refused_with_value_error(text: str) -> None:
    try:
        read = parse_rates(text)
    except ValueError:
        return
    assert read == parse_rates(format_rates(read))


@given(rates)
def test_the_item_of_a_rate_enforces_the_same_limit_and_window(rate: Rate) -> None:
    assert rate.item.amount == rate.limit
    assert rate.item.get_expiry() == rate.window_seconds


def test_equal_rates_share_one_item() -> None:
    assert Rate(5, 90, "90s").item is Rate(5, 90, "other name").item
    assert isinstance(Rate(5, 90, "90s").item, RateLimitItemPerSecond)
    assert isinstance(Rate(5, 300, "300s").item, RateLimitItemPerMinute)
