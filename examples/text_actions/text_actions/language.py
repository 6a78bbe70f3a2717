"""Words, sentences and syllables of English text: what every action here counts.

Each function is linear in the length of the text, whatever the text is.
"""

from __future__ import annotations

import re

STOP_WORDS = frozenset(
    """
    a about above after again against all also am an and any are as at be because been before being below
    between both but by can could did do does doing down during each few for from further had has have having
    he her here hers him his how i if in into is it its itself just me more most my no nor not now of off on
    once only or other our ours out over own same she should so some such than that the their theirs them then
    there these they this those through to too under until up very was we were what when where which while who
    whom why will with would you your yours
    """.split()  # noqa: SIM905 - one word a line would be ten times as long
)
"""Words that say little on their own."""

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'\u201d\u2019)\]]*+(?=\s|$)")
_SENTENCE_START = re.compile(r"\s*+[\"'\u201c\u2018(\[]*+[^\Wa-z_]")
_ABBREVIATION = re.compile(
    r"\b(?:[A-Z]|[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|[Ss]t|[Vv]s|etc|[Ee]\.g|[Ii]\.e|[Nn]o)\.$"
)
_LONGEST_ABBREVIATION = 8

_VOWELS = re.compile(r"[aeiouy]+")
_SILENT_ENDING = re.compile(r"(?<=[^aeiouy])(?:e|es|ed)$")
_SPOKEN_ENDING = re.compile(r"(?:[^aeiouyl]les?|[td]ed|[sxz]es|[cs]hes|[cg]es)$")


def words(text: str) -> list[str]:
    """Return the words in order: `don't` and `well-known` are one word each."""
    return _WORD.findall(text)


def content_words(text: str) -> list[str]:
    """Return the words that carry meaning, in lower case."""
    lowered = (word.lower() for word in words(text))
    return [word for word in lowered if word not in STOP_WORDS and not word.isdigit()]


def paragraphs(text: str) -> list[str]:
    """Return the blocks between empty lines."""
    return [block for block in _PARAGRAPH_BREAK.split(text.strip()) if block]


def sentences(text: str) -> list[str]:
    """Return the sentences in order; an abbreviation such as `Dr.` ends none."""
    return [sentence for block in paragraphs(text) for sentence in _sentences_of_paragraph(block)]


def syllables(word: str) -> int:
    """Estimate how many syllables an English word has; at least one."""
    spelled = re.sub(r"[^a-z]", "", word.lower())
    groups = len(_VOWELS.findall(spelled))
    if _SILENT_ENDING.search(spelled) and not _SPOKEN_ENDING.search(spelled):
        groups -= 1
    return max(1, groups)


def _sentences_of_paragraph(block: str) -> list[str]:
    found, start = [], 0
    for end in _SENTENCE_END.finditer(block):
        before = block[max(start, end.end() - _LONGEST_ABBREVIATION) : end.end()]
        if _SENTENCE_START.match(block, end.end()) and not _ABBREVIATION.search(before):
            found.append(block[start : end.end()])
            start = end.end()
    found.append(block[start:])
    return [" ".join(sentence.split()) for sentence in found if words(sentence)]
