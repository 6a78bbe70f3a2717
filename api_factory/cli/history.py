"""What the migrations say of the tables: a difference between the two, and the way back."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator

from piccolo.apps.migrations.commands.backwards import run_backwards
from piccolo.apps.migrations.commands.new import AutoMigrationManager
from piccolo.conf.apps import Finder

from api_factory.db import Database, applied_migrations
from api_factory.errors import ApiFactoryError

APP_NAME = "api_factory"


async def drift() -> list[str]:
    """Return the statements of the migration that is missing; none when tables and migrations agree.

    It reads files and nothing else: no database is asked, no migration is written.
    """
    with contextlib.redirect_stdout(io.StringIO()), _import_path_kept():
        config = Finder().get_app_config(APP_NAME)
        found = await AutoMigrationManager(auto_input="n").get_alter_statements(config)
    return [statement for alter in found for statement in alter.statements]


async def go_back(database: Database, first: str) -> list[str]:
    """Undo the migration `first` and those after it, all in one transaction; return their ids.

    Raises `ApiFactoryError` when a migration cannot be undone; then none is.
    """
    async with database.migrating():
        before = await applied_migrations(database)
        with contextlib.redirect_stdout(io.StringIO()), _import_path_kept():
            result = await run_backwards(APP_NAME, migration_id=first, auto_agree=True)
        if not result.success:
            raise ApiFactoryError(f"The migrations were not undone: {result.message}")
        after = set(await applied_migrations(database))
        return [name for name in reversed(before) if name not in after]


@contextlib.contextmanager
def _import_path_kept() -> Iterator[None]:
    # Piccolo puts the folder of migrations first, and leaves it there.
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
