"""Extractive summaries by SumBasic: Nenkova and Vanderwende, "The Impact of Frequency" (2005)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from api_factory import action
from text_actions import language
from text_actions.checks import check_range, check_text


class SentenceOrder(Enum):
    """In which order the chosen sentences come."""

    AS_IN_TEXT = "as in text"
    BY_IMPORTANCE = "by importance"


@dataclass(frozen=True, slots=True)
class SummaryOptions:
    """What the summary should be like.

    Attributes:
        sentences: How many to keep, from 1 to 20.
        keep_first: Whether the first sentence is always kept, as news reports ask for.
    """

    sentences: int = 3
    order: SentenceOrder = SentenceOrder.AS_IN_TEXT
    keep_first: bool = False


@dataclass(frozen=True, slots=True)
class SummarySentence:
    """A sentence of the text.

    Attributes:
        position: Its place in the text; the first is 1.
    """

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The sentences that say most.

    Attributes:
        text: The sentences joined, ready to show.
        sentences_left_out: How many more the text has.
    """

    text: str
    sentences: list[SummarySentence]
    sentences_left_out: int


# Dearer and slower than the others: five units a call, and limits of its own besides those of the plan.
@action(units=5, rate="10/second;120/minute")
def summarize(text: str, options: SummaryOptions | None = None) -> Summary:
    """Shorten a text to the sentences that say most, in its own words.

    Args:
        text: English text of at most 100,000 characters.
        options: What the summary should be like; three sentences in the order of the text by default.
    """
    options = options or SummaryOptions()
    check_text(text)
    check_range("options.sentences", options.sentences, maximum=20)
    sentences = language.sentences(text)
    chosen = list(_by_importance(sentences, options))
    if options.order is SentenceOrder.AS_IN_TEXT:
        chosen.sort()
    return Summary(
        text=" ".join(sentences[position] for position in chosen),
        sentences=[SummarySentence(position + 1, sentences[position]) for position in chosen],
        sentences_left_out=len(sentences) - len(chosen),
    )


def _by_importance(sentences: list[str], options: SummaryOptions) -> Iterator[int]:
    """Yield positions, the most important first; words already told count less each time."""
    told = [language.content_words(sentence) for sentence in sentences]
    counts = Counter(word for words in told for word in words)
    weights = {word: count / counts.total() for word, count in counts.items()}
    left = set(range(len(sentences)))
    for turn in range(min(options.sentences, len(sentences))):
        is_given = options.keep_first and turn == 0
        best = 0 if is_given else max(left, key=lambda place: (_importance(told[place], weights), -place))
        yield best
        left.remove(best)
        weights.update({word: weights[word] ** 2 for word in set(told[best])})


def _importance(words: list[str], weights: dict[str, float]) -> float:
    return sum(weights[word] for word in words) / len(words) if words else 0.0
