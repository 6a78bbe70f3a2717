"""Characters that steer a terminal or turn text around, and how they are shown instead."""

from __future__ import annotations

import re

STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""The control characters, the separators of lines and the controls of Unicode's bidirectional algorithm."""


def escaped(text: str) -> str:
    r"""Return the text with every steering character as `\u001b`; within a JSON string it means the same."""
    return STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
