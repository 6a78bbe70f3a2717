"""How much two texts have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from math import sqrt

from api_factory import action
from text_actions.checks import check_text
from text_actions.language import content_words

SHARED_WORDS_MAX = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two texts have in common.

    Attributes:
        similarity: From 0 (no word in common) to 1 (the same words equally often), with four digits.
        shared_words: At most twenty words of both, those that both use most first.
    """

    similarity: Decimal
    is_identical: bool
    shared_words: list[str]


@action(units=2)
def compare_texts(first: str, second: str) -> Comparison:
    """Compare the words of two texts by the cosine of the angle between their counts.

    Args:
        first: English text of at most 100,000 characters.
        second: The text to compare it with.
    """
    check_text(first)
    check_text(second)
    mine, other = Counter(content_words(first)), Counter(content_words(second))
    shared = mine & other
    by_use = sorted(shared, key=lambda word: (-shared[word], word))
    return Comparison(
        similarity=Decimal(_cosine(mine, other)).quantize(Decimal("0.0001")),
        is_identical=first == second,
        shared_words=by_use[:SHARED_WORDS_MAX],
    )


def _cosine(mine: Counter[str], other: Counter[str]) -> float:
    product = sum(count * other[word] for word, count in mine.items())
    length = sqrt(sum(count**2 for count in mine.values()) * sum(count**2 for count in other.values()))
    return product / length if length else 0.0
