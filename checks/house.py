"""The house rules that no linter knows: short functions, plain names, nothing unfinished, no local paths."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from checks.files import ROOT, committed

LINES_MAX = 50
PACKAGES = ("api_factory", "api", "schema", "admin", "fake_stripe", "bench", "checks", "examples")
FORBIDDEN_WORDS = {"manager", "helper", "helpers", "util", "utils", "data"}
# The names are put together here, so that this file does not find itself.
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"]))
LOCAL_PATHS = re.compile(r"(?<![\w.])/(?:root|home(?!/app\b)|Users|work)/[a-z]")
PACKAGE_HOSTS = re.compile("|".join(["pypi" + r"\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs"]))
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".txt",
    ".yml",
    ".yaml",
    ".sql",
    ".html",
    ".sh",
    ".json",
    ".graphql",
    ".cfg",
    "",
}


def complaints() -> Iterator[str]:
    """Yield a line for each breach, as ``file:line what``."""
    for path in committed():
        name = path.relative_to(ROOT)
        if path.suffix in TEXT and "vendor" not in name.parts:
            yield from _in_text(name, path.read_text(errors="replace"))
        if path.suffix == ".py" and name.parts[0] in PACKAGES and "tests" not in name.parts:
            yield from _in_code(name, ast.parse(path.read_text()))


def _in_text(name: Path, text: str) -> Iterator[str]:
    rules = {"a path of one machine": LOCAL_PATHS, "the host of a package registry": PACKAGE_HOSTS}
    if name.suffix in {".py", ".html", ".sql"}:
        rules["something unfinished"] = UNFINISHED
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in rules.items():
            if pattern.search(line):
                yield f"{name}:{number} names {what}: {line.strip()[:80]}"


def _in_code(name: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        words = _words(node.name)
        if empty := FORBIDDEN_WORDS & set(words) or {"process"} & set(words[:1]):
            yield f"{name}:{node.lineno} {node.name} says nothing with {', '.join(sorted(empty))!r}"
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > LINES_MAX and not isinstance(node, ast.ClassDef):
            yield f"{name}:{node.lineno} {node.name} has {length} lines, over {LINES_MAX}"
    if empty := FORBIDDEN_WORDS & {word for part in name.with_suffix("").parts for word in _words(part)}:
        yield f"{name} says nothing with {', '.join(sorted(empty))!r}"


def _words(identifier: str) -> list[str]:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower()
    return snake.replace("data_directory", "directory").split("_")  # PostgreSQL's own term


def main() -> int:
    """Print the breaches; 1 if there are any."""
    found = list(complaints())
    print("\n".join(found) or "Every rule is kept.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
