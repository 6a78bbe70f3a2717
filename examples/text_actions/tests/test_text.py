"""The actions are plain functions, so their tests need no server and no key."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from api_factory import ActionError, Caller
from text_actions import (
    compare_texts,
    document,
    extract_keywords,
    readability,
    redact,
    remember_document,
    summarize,
    text_statistics,
)
from text_actions.checks import LENGTH_MAX
from text_actions.documents import DOCUMENTS_PER_ACCOUNT_MAX
from text_actions.keywords import Keyword
from text_actions.language import sentences, syllables, words
from text_actions.readability import Audience
from text_actions.redaction import PersonalDetail, RedactionCount
from text_actions.summary import SentenceOrder, SummaryOptions

STORY = """\
Bees keep the orchard alive. In spring the bees visit every apple tree, and without bees no apple would grow.

Dr. Hill, who owns the orchard, counts them each morning. She wrote "Bees first!" on the gate. Rain is rare.
"""


def caller(account_id: str) -> Caller:
    return Caller(account_id, "key_1", "tests", frozenset({"RUN_ACTIONS"}), False, "req_1", {})


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_FACTORY_DATA_DIR", str(tmp_path))


def test_words_hold_apostrophes_and_hyphens() -> None:
    assert words("Don't stop, well-known O\u2019Neill: 3 times!") == [
        "Don't",
        "stop",
        "well-known",
        "O\u2019Neill",
        "3",
        "times",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Hill met J. R. Smith.", ["Dr. Hill met J. R. Smith."]),
        ('"Really?" she asked. "Yes."', ['"Really?" she asked.', '"Yes."']),
        ("Version 2.5 is out. 3 bugs left.", ["Version 2.5 is out.", "3 bugs left."]),
        ("No end\n\nNew paragraph", ["No end", "New paragraph"]),
        ("... !!! ...", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, found: list[str]) -> None:
    assert sentences(text) == found


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("the", 1),
        ("make", 1),
        ("table", 2),
        ("wanted", 2),
        ("walked", 1),
        ("houses", 2),
        ("beautiful", 3),
        ("3", 1),
    ],
)
def test_syllables_are_counted_by_ear(word: str, count: int) -> None:
    assert syllables(word) == count


async def test_statistics_count_everything() -> None:
    found = await text_statistics(STORY, words_per_minute=60)

    assert (found.characters, found.words, found.unique_words) == (len(STORY), 40, 32)
    assert (found.sentences, found.paragraphs) == (5, 2)
    assert (found.average_word_length, found.average_sentence_length) == (4.17, 8.0)
    assert found.reading_time_seconds == 40


async def test_a_part_of_a_second_of_reading_is_a_second() -> None:
    assert (await text_statistics("Word")).reading_time_seconds == 1


def test_keywords_come_best_first_and_are_counted() -> None:
    found = extract_keywords("Apple trees grow. Apple trees need bees, and bees need apple trees.", limit=2)

    assert found == [Keyword("apple trees need bees", 15.33, 1), Keyword("bees need apple trees", 15.33, 1)]
    assert extract_keywords("Green tea. Green tea.") == [Keyword("green tea", 4.0, 2)]


def test_a_run_too_long_to_be_a_term_is_no_keyword() -> None:
    assert extract_keywords("red green blue white black") == []


@pytest.mark.parametrize(
    ("text", "audience"),
    [
        ("The cat sat on the mat.", Audience.ELEMENTARY_SCHOOL),
        ("Institutional responsibility necessitates comprehensive documentation.", Audience.GRADUATE),
    ],
)
def test_long_words_ask_for_more_school(text: str, audience: Audience) -> None:
    assert readability(text).audience is audience


def test_readability_follows_the_published_formulas() -> None:
    found = readability("The cat sat on the mat. The dog ran to the cat.")

    assert (found.words_per_sentence, found.syllables_per_word) == (6.0, 1.0)
    assert found.flesch_reading_ease == 116.1
    assert found.flesch_kincaid_grade == -1.4


def test_a_summary_keeps_what_says_most_in_the_order_of_the_text() -> None:
    found = summarize(STORY, SummaryOptions(sentences=2))

    assert [sentence.position for sentence in found.sentences] == [1, 2]
    assert found.text == " ".join(sentences(STORY)[:2])
    assert found.sentences_left_out == 3


def test_the_first_sentence_can_be_given_and_the_order_chosen() -> None:
    by_importance = SummaryOptions(2, SentenceOrder.BY_IMPORTANCE, keep_first=True)

    assert summarize(STORY, by_importance).sentences[0].position == 1
    assert len(summarize(STORY).sentences) == 3
    assert summarize("And so it is.").text == "And so it is."


def test_similarity_goes_from_nothing_in_common_to_the_same() -> None:
    assert compare_texts("Green tea", "Black coffee").similarity == Decimal("0.0000")
    assert compare_texts("Green tea", "tea, green!").similarity == Decimal("1.0000")
    assert compare_texts("the and", "of").similarity == Decimal("0.0000")


def test_a_comparison_names_the_words_of_both() -> None:
    found = compare_texts("Tea and milk and tea", "Milk, tea, tea and sugar")

    assert found.shared_words == ["tea", "milk"]
    assert not found.is_identical
    assert compare_texts("Tea", "Tea").is_identical


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Write to a.b+c@mail.example.com.", "Write to [email]."),
        ("Call +49 30 1234567 or (030) 123456789.", "Call [phone] or [phone]."),
        ("Call 555-123-4567!", "Call [phone]!"),
        ("Card 4111 1111 1111 1111", "Card [card]"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [iban]."),
    ],
)
def test_a_personal_detail_is_replaced_by_its_kind(text: str, redacted: str) -> None:
    assert redact(text).text == redacted


@pytest.mark.parametrize(
    "text",
    ["On 2024-01-15 at 10:30", "Card 4111 1111 1111 1112", "DE00370400440532013000", "Call 0123", "a@b"],
)
def test_what_only_looks_like_a_detail_is_left_alone(text: str) -> None:
    found = redact(text)

    assert (found.text, found.counts) == (text, [])


def test_only_the_details_asked_for_are_taken_out_and_counted() -> None:
    found = redact("a@example.com, b@example.com, 555-123-4567", [PersonalDetail.EMAIL])

    assert found.text == "[email], [email], 555-123-4567"
    assert found.counts == [RedactionCount(PersonalDetail.EMAIL, 2)]


def test_a_document_is_read_back_by_its_own_account_only() -> None:
    receipt = remember_document("Two words", caller("acc_1"), title="Mine")
    found = document(receipt.id, caller("acc_1"))

    assert found is not None
    assert (found.id, found.title, found.text) == (receipt.id, "Mine", "Two words")
    assert found.remembered_at == receipt.remembered_at <= datetime.now(UTC)
    assert receipt.words == 2
    assert document(receipt.id, caller("acc_2")) is None
    assert document(uuid4(), caller("acc_1")) is None


def test_the_oldest_document_of_an_account_makes_room() -> None:
    other = remember_document("Other", caller("acc_2"))
    receipts = [
        remember_document(f"Text {number}", caller("acc_1"))
        for number in range(DOCUMENTS_PER_ACCOUNT_MAX + 1)
    ]

    assert document(receipts[0].id, caller("acc_1")) is None
    assert document(receipts[1].id, caller("acc_1")) is not None
    assert document(other.id, caller("acc_2")) is not None


@pytest.mark.parametrize("function", [extract_keywords, readability, redact, summarize])
@pytest.mark.parametrize(
    ("text", "code"), [(" .\n", "TEXT_EMPTY"), ("a" * (LENGTH_MAX + 1), "TEXT_TOO_LONG")]
)
def test_a_text_that_cannot_be_read_is_an_expected_error(function, text: str, code: str) -> None:  # noqa: ANN001
    with pytest.raises(ActionError) as refusal:
        function(text)

    assert refusal.value.code == code


@pytest.mark.parametrize("limit", [0, 101])
def test_a_number_out_of_range_is_an_expected_error(limit: int) -> None:
    with pytest.raises(ActionError) as refusal:
        extract_keywords("Word", limit)

    assert (refusal.value.code, refusal.value.extensions) == ("OUT_OF_RANGE", {"maximum": 100})


def test_a_title_too_long_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="longer than 200 characters"):
        remember_document("Text", caller("acc_1"), title="t" * 201)

    assert not (tmp_path / "documents.sqlite3").exists()
