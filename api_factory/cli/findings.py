"""What the doctor finds: a check, how it went, and the way to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from api_factory.cli import output
from api_factory.log import redact

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a check; `fix` is empty when there is nothing to mend. It never holds a secret."""

    check: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""


def ok(check: str, detail: str) -> Finding:
    """Say that all is well."""
    return Finding(check, "ok", redact(detail))


def warn(check: str, detail: str, fix: str) -> Finding:
    """Say what will be a trouble, or may be meant so."""
    return Finding(check, "warn", redact(detail), redact(fix))


def fail(check: str, detail: str, fix: str) -> Finding:
    """Say what keeps the server from working."""
    return Finding(check, "fail", redact(detail), redact(fix))


def failed_by(check: str, error: Exception) -> Finding:
    """Read an error as a finding: behind its semicolon, a refusal's sentence says how to mend it."""
    _, sentence = output.explain(error)
    problem, _, fix = sentence.partition(";")
    return fail(check, problem.strip(), fix.strip().removesuffix(".") or "correct what this names")


def examine(subject: Subject, checks: Iterable[tuple[str, Callable[[Subject], Finding]]]) -> list[Finding]:
    """Run every check on the subject, whatever the others found."""
    found = []
    for name, check in checks:
        try:
            found.append(check(subject))
        except Exception as error:
            found.append(failed_by(name, error))
    return found
