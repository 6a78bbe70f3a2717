"""How hard a text is to read, by Flesch (1948) and Kincaid et al. (1975)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from api_factory import action
from text_actions import language
from text_actions.checks import check_text


class Audience(Enum):
    """Who reads the text with ease, by its Flesch reading ease."""

    ELEMENTARY_SCHOOL = 80
    MIDDLE_SCHOOL = 60
    HIGH_SCHOOL = 50
    COLLEGE = 30
    GRADUATE = float("-inf")


@dataclass(frozen=True, slots=True)
class Readability:
    """How hard a text is to read.

    Attributes:
        flesch_reading_ease: Most texts are between 0 (very hard) and 100 (very easy).
        flesch_kincaid_grade: The years of school in the United States that the text asks for.
        syllables_per_word: Estimated from the spelling.
    """

    flesch_reading_ease: float
    flesch_kincaid_grade: float
    audience: Audience
    syllables_per_word: float
    words_per_sentence: float


@action
def readability(text: str) -> Readability:
    """Say how hard an English text is to read, and for whom it is written.

    Args:
        text: English text of at most 100,000 characters.
    """
    check_text(text)
    words = language.words(text)
    words_per_sentence = len(words) / len(language.sentences(text))
    syllables_per_word = sum(map(language.syllables, words)) / len(words)
    ease = 206.835 - 1.015 * words_per_sentence - 84.6 * syllables_per_word
    return Readability(
        flesch_reading_ease=round(ease, 1),
        flesch_kincaid_grade=round(0.39 * words_per_sentence + 11.8 * syllables_per_word - 15.59, 1),
        audience=next(audience for audience in Audience if ease >= audience.value),
        syllables_per_word=round(syllables_per_word, 2),
        words_per_sentence=round(words_per_sentence, 2),
    )
