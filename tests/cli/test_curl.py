"""The call to copy and paste."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from enum import Enum

from api_factory import action
from api_factory.actions import Catalogue, define
from api_factory.cli.curl import curl_line, example_query

SAMPLE = "Measure what you charge for, and charge for what you measure."


class Mood(Enum):
    GLAD = "glad"
    SAD = "sad"


@dataclass
class Word:
    text: str
    how_often: int


@dataclass
class Report:
    mood: Mood | None
    words: list[Word]
    extra: dict[str, int]


@action
async def describe(some_text: str, limit: int = 3) -> Report:
    """Describe a text."""
    raise AssertionError(some_text, limit)


@action
async def compare(first: str, second: str) -> bool:
    """Compare two texts."""
    return first == second


@action
async def add(number: int) -> int:
    """Add one."""
    return number + 1


@action(kind="mutation")
async def remember(text: str) -> bool:
    """Keep a text."""
    return bool(text)


def test_the_authors_action_comes_before_the_built_in_ones_with_all_it_returns() -> None:
    query = example_query([*Catalogue.load((), entry_points=False), define(compare), define(describe)])
    assert query == f'{{ describe(someText: "{SAMPLE}") {{ mood words {{ text howOften }} extra }} }}'


def test_actions_that_text_alone_cannot_try_are_passed_over() -> None:
    others = [define(add), define(remember)]
    assert (
        example_query([*others, *Catalogue.load((), entry_points=False)]) == f'{{ echo(text: "{SAMPLE}") }}'
    )
    assert example_query(others) == "{ viewer { id } }"


def test_the_line_survives_the_shell() -> None:
    words = shlex.split(curl_line("http://[::1]:8000", "af_live_x", Catalogue.load((), entry_points=False)))
    assert words[:3] == ["curl", "-sS", "http://[::1]:8000/graphql"]
    assert "Authorization: Bearer af_live_x" in words
    assert json.loads(words[-1]) == {"query": f'{{ echo(text: "{SAMPLE}") }}'}
