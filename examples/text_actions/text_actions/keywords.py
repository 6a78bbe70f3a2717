"""Keywords by RAKE: Rose et al., "Automatic Keyword Extraction from Individual Documents" (2010)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from api_factory import action
from text_actions.checks import check_range, check_text
from text_actions.language import STOP_WORDS

PHRASE_WORDS_MAX = 4
"""Longer runs of words without a stop word are rarely a term anyone would search for."""

Phrase = tuple[str, ...]

_WORD_OR_BREAK = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Keyword:
    """A phrase that says what the text is about.

    Attributes:
        score: The sum over its words of degree / frequency; comparable within one text only.
        occurrences: How often the phrase stands in the text.
    """

    phrase: str
    score: float
    occurrences: int


# A plain `def` runs in a worker thread: right for work that would hold up other calls.
@action(units=2)
def extract_keywords(text: str, limit: int = 10) -> list[Keyword]:
    """Find the phrases that say what a text is about, the most telling first.

    Args:
        text: English text of at most 100,000 characters.
        limit: How many phrases to return at most, from 1 to 100.
    """
    check_text(text)
    check_range("limit", limit, maximum=100)
    phrases = Counter(_candidates(text))
    scores = _word_scores(phrases.elements())
    keywords = [
        Keyword(" ".join(phrase), round(sum(scores[word] for word in phrase), 2), occurrences)
        for phrase, occurrences in phrases.items()
    ]
    return sorted(keywords, key=lambda keyword: (-keyword.score, keyword.phrase))[:limit]


def _candidates(text: str) -> Iterator[Phrase]:
    tokens = (match.group().lower() for match in _WORD_OR_BREAK.finditer(text))
    for is_telling, run in groupby(tokens, key=_is_telling):
        phrase = tuple(run)
        if is_telling and len(phrase) <= PHRASE_WORDS_MAX:
            yield phrase


def _is_telling(token: str) -> bool:
    return token[0].isalpha() and len(token) > 1 and token not in STOP_WORDS


def _word_scores(phrases: Iterable[Phrase]) -> dict[str, float]:
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for phrase in phrases:
        for word in phrase:
            frequency[word] += 1
            degree[word] += len(phrase)
    return {word: degree[word] / frequency[word] for word in frequency}
