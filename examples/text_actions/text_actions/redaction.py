"""Personal details taken out of a text.

Numbers that carry a check digit are taken out only if it is right, so that an order number is left alone.
Every pattern has a longest match, which keeps the search linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from api_factory import action
from text_actions.checks import check_text


class PersonalDetail(Enum):
    """What can be taken out; the value is what stands in its place."""

    IBAN = "[iban]"
    CARD = "[card]"
    EMAIL = "[email]"
    PHONE = "[phone]"


@dataclass(frozen=True, slots=True)
class RedactionCount:
    """How many details of one kind were taken out."""

    detail: PersonalDetail
    count: int


@dataclass(frozen=True, slots=True)
class Redaction:
    """The text without the details.

    Attributes:
        counts: One entry for each kind that was found.
    """

    text: str
    counts: list[RedactionCount]


# A scope of its own: a key may call this only if it was created with REDACT.
@action(scope="REDACT", units=2)
def redact(text: str, details: list[PersonalDetail] | None = None) -> Redaction:
    """Replace e-mail addresses, phone, card and account numbers, such as an address by `[email]`.

    Args:
        text: Text of at most 100,000 characters.
        details: What to take out; everything unless given.
    """
    check_text(text)
    counts = []
    for detail in PersonalDetail:
        if details is None or detail in details:
            text, count = _replace(detail, text)
            counts += [RedactionCount(detail, count)] if count else []
    return Redaction(text, counts)


def _replace(detail: PersonalDetail, text: str) -> tuple[str, int]:
    pattern, is_right = _RULES[detail]
    count = 0

    def replacement(match: re.Match[str]) -> str:
        nonlocal count
        if not is_right(match.group()):
            return match.group()
        count += 1
        return detail.value

    return pattern.sub(replacement, text), count


def _is_iban(text: str) -> bool:
    """Check the remainder of ISO 13616: letters count from A = 10, and the whole is 1 modulo 97."""
    compact = text.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    """Check the digit of ISO/IEC 7812-1: every second digit doubled, the sum of digits ends in 0."""
    digits = [int(character) for character in reversed(text) if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_phone(text: str) -> bool:
    """Check the length: at most 15 digits by E.164, and fewer than 8 are no whole number."""
    return 8 <= sum(character.isdigit() for character in text) <= 15


def _always(_text: str) -> bool:
    return True


_RULES: dict[PersonalDetail, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    PersonalDetail.IBAN: (
        re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
        _is_iban,
    ),
    PersonalDetail.CARD: (re.compile(r"(?<![\w-])[0-9](?:[ -]?[0-9]){12,18}(?![\w-])"), _is_card),
    PersonalDetail.EMAIL: (
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
        _always,
    ),
    PersonalDetail.PHONE: (
        # International (+49 ...), national with a leading 0, or in groups of 3, 3 and 4.
        re.compile(
            r"(?<![\w+.-])(?:\+[0-9]|\(?0[0-9]|\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-](?=[0-9]{4}\b))"
            r"(?:[ ()./-]{0,2}[0-9]){4,14}(?![\w-])"
        ),
        _is_phone,
    ),
}
