"""Actions on English text. What is imported here is what the API offers."""

from __future__ import annotations

from text_actions.comparison import compare_texts
from text_actions.documents import document, remember_document
from text_actions.keywords import extract_keywords
from text_actions.readability import readability
from text_actions.redaction import redact
from text_actions.statistics import text_statistics
from text_actions.summary import summarize

__all__ = [
    "compare_texts",
    "document",
    "extract_keywords",
    "readability",
    "redact",
    "remember_document",
    "summarize",
    "text_statistics",
]
