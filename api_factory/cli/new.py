"""`api-factory new`: a package of actions to begin with, which runs and passes its tests as written."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from string import Template

from api_factory.errors import AlreadyExists, BadUserInput

_TEMPLATE = Path(__file__).parent / "template"
_FILES = {
    "pyproject.toml.tmpl": "pyproject.toml",
    "README.md.tmpl": "README.md",
    "gitignore.tmpl": ".gitignore",
    "module.py.tmpl": "{name}.py",
    "test_module.py.tmpl": "tests/test_{name}.py",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NAME_LENGTH_MAX = 64
_TAKEN = frozenset({"admin", "api", "api_factory", "migrations", "piccolo_conf", "schema", "test", "tests"})


def create_package(name: str, directory: Path) -> list[Path]:
    """Write a package of actions named `name` into `directory`, which is made; return the files written.

    Nothing is written unless everything can be: an existing folder must be empty, and it is left untouched
    when the name is refused.

    Raises:
        BadUserInput: The name is no module name or is taken by Python, the server or an installed package.
        AlreadyExists: The folder holds something, or a file stands in its place.
    """
    _check_name(name)
    _check_directory(directory)
    substitutes = {"name": name, "distribution": name.replace("_", "-")}
    return [
        _write(directory / target.format(name=name), Template(_read(source)).substitute(substitutes))
        for source, target in _FILES.items()
    ]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH_MAX:
        raise BadUserInput(f"{name!r} cannot be the name of a package; write it like word_tools.")
    if keyword.iskeyword(name):
        raise BadUserInput(f"{name} is a word of Python itself; choose another, like {name}_actions.")
    if name in _TAKEN or name in sys.stdlib_module_names:
        owner = "the server" if name in _TAKEN else "Python"
        raise BadUserInput(f"{name} is a module of {owner} itself; choose another, like {name}_actions.")
    if (spec := find_spec(name)) is not None and spec.origin is not None:
        raise BadUserInput(f"{name} is the name of an installed module; choose another, like my_{name}.")


def _check_directory(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise AlreadyExists(f"{directory} is a file; choose another name or move it away.")
    if directory.is_dir() and any(directory.iterdir()):
        raise AlreadyExists(f"The folder {directory} is not empty; choose another name or empty it.")


def _read(source: str) -> str:
    return (_TEMPLATE / source).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
