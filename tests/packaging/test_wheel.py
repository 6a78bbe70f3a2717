"""The wheel holds all that runs, and nothing that only tests."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api_factory", "api", "schema", "admin", "fake_stripe")
LEFT_OUT = {".pyc", ".pyo"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def expected() -> set[str]:
    files = [path for package in (*PACKAGES, "migrations") for path in (ROOT / package).rglob("*")]
    kept = [path for path in files if path.is_file() and path.suffix not in LEFT_OUT]
    return {str(path.relative_to(ROOT)) for path in kept}


def test_every_file_of_the_packages_is_in_it_templates_static_files_and_sql_too(names: set[str]) -> None:
    assert expected() - names == set()


def test_the_migrations_and_their_sql_are_in_it(names: set[str]) -> None:
    assert "piccolo_conf.py" in names
    assert any(name.startswith("migrations/") and name.endswith(".py") for name in names)
    assert any(name.startswith("migrations/sql/") and name.endswith(".sql") for name in names)


def test_nothing_else_is_in_it(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    ours = {top for top in tops if not top.endswith(".dist-info")}
    assert ours == {*PACKAGES, "migrations", "piccolo_conf.py"}
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]


def test_it_brings_the_command_and_the_licence(names: set[str]) -> None:
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_types_are_there_for_those_who_build_on_it(names: set[str]) -> None:
    assert "api_factory/py.typed" in names


def test_every_dependency_is_pinned_and_no_host_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    pins = (ROOT / "constraints.txt").read_text()
    pinned = {line.split("==")[0] for line in pins.splitlines()}
    assert {bare(requirement) for requirement in wanted} - pinned == set()
    assert "http" not in {line.split(":")[0] for line in pins.splitlines()}


def bare(requirement: str) -> str:
    for separator in (";", "[", ">", "<", "="):
        requirement = requirement.split(separator)[0]
    return requirement.strip().lower()
