"""Other installed packages that take the names of ours: `api`, `schema`, `admin`, `migrations`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

import api_factory
from api_factory.cli import output
from api_factory.errors import ConfigurationError

NAMES = ("api", "schema", "admin", "migrations", "piccolo_conf")

_HOME = Path(api_factory.__file__).resolve().parent.parent
_OURS = "api-factory"


@dataclass(frozen=True, slots=True)
class Shadow:
    """A name of ours that somebody else has too; `place` is where Python finds it when that is not ours."""

    name: str
    place: Path | None
    distributions: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What is wrong and how to mend it."""
        if self.place is not None:
            return (
                f"`import {self.name}` finds {self.place}, not the one of API-Factory in {_HOME}; "
                "uninstall that package, take its folder off PYTHONPATH, or use an environment of its own."
            )
        others = ", ".join(self.distributions)
        return (
            f"The installed {others} has a top-level `{self.name}` too; uninstall it, or give API-Factory "
            "an environment of its own."
        )


def find_shadows() -> list[Shadow]:
    """Return every name of ours that is found elsewhere, or that another installed package claims too."""
    claims = packages_distributions()
    found = [Shadow(name, _place(name), _others(claims.get(name, []))) for name in NAMES]
    return [shadow for shadow in found if shadow.place is not None or shadow.distributions]


def refuse_shadows() -> None:
    """Warn of packages that claim a name of ours. Raises `ConfigurationError` when one has taken it."""
    for shadow in find_shadows():
        if shadow.place is not None:
            raise ConfigurationError(shadow.sentence)
        output.talk(f"Warning: {shadow.sentence}")


def _place(name: str) -> Path | None:
    if name == "migrations":  # it is read by its path and never imported
        return None
    spec = PathFinder.find_spec(name)
    if spec is None:
        return None
    locations = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    if not locations:
        return None
    place = Path(str(locations[0])).resolve()
    place = place.parent if place.name == "__init__.py" else place
    return None if place.parent == _HOME else place


def _others(distributions: list[str]) -> tuple[str, ...]:
    return tuple(sorted({each for each in distributions if each.lower().replace("_", "-") != _OURS}))
