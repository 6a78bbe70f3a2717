"""Durations on the command line."""

from __future__ import annotations

from datetime import timedelta

import click
import pytest

from api_factory.cli.durations import duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("12h", timedelta(hours=12)),
        (" 30D ", timedelta(days=30)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_a_number_and_a_unit_is_a_duration(text: str, length: timedelta) -> None:
    assert duration(text) == length


@pytest.mark.parametrize("text", ["", "30", "d", "1.5h", "-1d", "1 d", "1d12h", "30y", "٣d", "1d\x00"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 30d"):
        duration(text)


@pytest.mark.parametrize("text", ["0s", "36501d", "9999999999d"])
def test_a_length_nobody_can_mean_is_refused_with_the_bounds(text: str) -> None:
    with pytest.raises(click.BadParameter, match="from 1s to 36500d"):
        duration(text)
