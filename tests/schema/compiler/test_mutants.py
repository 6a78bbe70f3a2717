"""The differential tests fail when the compiler is wrong: each of these mistakes is made, and found.

A copy of the compiler's own text is changed in one place, loaded under another name and compared with
graphql-core until they differ. Among the mistakes: nulls that do not reach their parent, siblings that are
awaited one after the other, unusual values that nobody rescues, merged fields of which only the first
counts, errors in another order, mutations that begin at once, and work that is begun and left.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import schema.compiler
from schema.compiler import Compiler
from tests.schema.compiler.judge import Judge, differences, programs_of
from tests.schema.compiler.worlds import world
from tests.schema.compiler.writing import variables_for, write

MISTAKES = {
    "a null stops where it is": (
        "runtime.py",
        "        if self.is_non_null:\n            raise located\n",
        "",
    ),
    "siblings wait for each other": (
        "runtime.py",
        "values = await gather_with_cancel(*(value for _, value in pending))",
        "values = [await value for _, value in pending]",
    ),
    "unusual values are taken as they are": (
        "runtime.py",
        "        completed = self.complete(value, at, state)\n        return self.settled",
        "        return value\n        return self.settled",
    ),
    "only the first of merged fields counts": (
        "emitter.py",
        "                place.details,\n                True,",
        "                place.details[:1],\n                True,",
    ),
    "the last errors come first": (
        "program.py",
        "state.errors.errors or None",
        "state.errors.errors[::-1] or None",
    ),
    "mutations begin at once": (
        "emitter.py",
        "return self._serial(root, grouped) if is_serial else",
        "return",
    ),
    "nobody asks what type a value is": (
        "emitter.py",
        "self._asked(named, place, select) if named.is_type_of else select",
        "select",
    ),
    "conditions are decided once": (
        "program.py",
        "outcome = tuple(value for value in values if isinstance(value, bool))",
        "outcome = (True,) * len(values)",
    ),
    "what was begun is left hanging": (
        "runtime.py",
        "    if left:\n",
        "    if not left:\n",
    ),
    "errors in lists lose their place": (
        "emitter.py",
        '"(at, index, None)"',
        '"(at, 0, None)"',
    ),
    "defaults of arguments are forgotten": (
        "arguments.py",
        "value = _default(argument) if node is None else",
        "value = Undefined if node is None else",
    ),
    "null and absent are one": (
        "variables.py",
        "value = given.get(name, Undefined)",
        "value = Undefined if given.get(name) is None else given[name]",
    ),
}


def _mutant(directory: Path, number: int, mistake: tuple[str, str, str]) -> type[Compiler]:
    file, right, wrong = mistake
    name = f"mutant_{number}"
    package = directory / name
    shutil.copytree(
        Path(schema.compiler.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    text = (package / file).read_text()
    assert text.count(right) == 1, f"{file} has changed; correct this test"
    (package / file).write_text(text.replace(right, wrong))
    for each in package.glob("*.py"):
        each.write_text(each.read_text().replace("schema.compiler", name))
    loaded: type[Compiler] = importlib.import_module(name).Compiler
    return loaded


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    judge = Judge()
    yield judge
    judge.close()
    for name in [name for name in sys.modules if name.startswith("mutant_")]:
        del sys.modules[name]


def _documents_until_found(judge: Judge, compiler: type[Compiler], most: int) -> int | None:
    for seed in range(most):
        random, world_ = Random(seed), world(seed, seed % 7 + 1)
        written = write(world_.schema, random, random.choice(("query", "query", "mutation")))
        if written is None:
            continue
        mutant = programs_of(world_.schema, written[1], is_on=True, compiler=compiler)
        core = programs_of(world_.schema, written[1], is_on=False)
        for number, trouble in enumerate((0.0, 0.1, 0.25)):
            given = variables_for(world_.schema, written[1], random, 0.02)
            read, wanted = mutant.reader.read(given), core.reader.read(given)
            if isinstance(wanted, list):
                continue
            if isinstance(read, list) or read.coerced != wanted.coerced:
                return seed
            found, expected = differences(judge, world_, mutant, core, read, (seed + number, trouble))
            if found != expected:
                return seed
    return None


@pytest.mark.parametrize("name", MISTAKES)
def test_the_comparison_finds_a_mistake_of_the_compiler(judge: Judge, tmp_path: Path, name: str) -> None:
    compiler = _mutant(tmp_path, list(MISTAKES).index(name), MISTAKES[name])
    assert _documents_until_found(judge, compiler, 200) is not None


def test_the_comparison_finds_nothing_wrong_with_the_compiler(judge: Judge, tmp_path: Path) -> None:
    unchanged = _mutant(tmp_path, len(MISTAKES), ("source.py", "class Source:", "class Source:"))
    assert _documents_until_found(judge, unchanged, 40) is None
