"""How long a text is, in every way one may ask."""

from __future__ import annotations

from dataclasses import dataclass

from api_factory import action
from text_actions import language
from text_actions.checks import check_range, check_text


@dataclass(frozen=True, slots=True)
class TextStatistics:
    """The lengths of a text.

    Attributes:
        unique_words: Different words, in whatever case they are written.
        average_word_length: In characters.
        average_sentence_length: In words.
        reading_time_seconds: At the speed asked for, rounded up.
    """

    characters: int
    words: int
    unique_words: int
    sentences: int
    paragraphs: int
    average_word_length: float
    average_sentence_length: float
    reading_time_seconds: int


# An `async def` runs on the server's event loop: right for work this quick.
@action
async def text_statistics(text: str, words_per_minute: int = 230) -> TextStatistics:
    """Count the characters, words, sentences and paragraphs of a text.

    Args:
        text: English text of at most 100,000 characters.
        words_per_minute: How fast the reader reads; most adults read 200 to 260 words a minute.

    Returns:
        The counts, two averages and the time it takes to read the text.
    """
    check_text(text)
    check_range("wordsPerMinute", words_per_minute, maximum=2_000)
    words = language.words(text)
    sentences = language.sentences(text)
    return TextStatistics(
        characters=len(text),
        words=len(words),
        unique_words=len({word.lower() for word in words}),
        sentences=len(sentences),
        paragraphs=len(language.paragraphs(text)),
        average_word_length=round(sum(map(len, words)) / len(words), 2),
        average_sentence_length=round(len(words) / len(sentences), 2),
        reading_time_seconds=-(-len(words) * 60 // words_per_minute),
    )
