"""Keys that run trusted documents only."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import Boolean
from piccolo.columns.indexes import IndexMethod


ID = "2026-11-26T05:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Keys for trusted documents only"


async def forwards() -> MigrationManager:
    """Add the column; every key that exists keeps running any document."""
    manager = MigrationManager(migration_id=ID, app_name="api_factory", description=DESCRIPTION)

    manager.add_column(
        table_class_name="ApiKey",
        tablename="api_key",
        column_name="trusted_documents_only",
        db_column_name="trusted_documents_only",
        column_class_name="Boolean",
        column_class=Boolean,
        params={
            "default": False,
            "null": False,
            "primary_key": False,
            "unique": False,
            "index": False,
            "index_method": IndexMethod.btree,
            "choices": None,
            "db_column_name": None,
            "secret": False,
        },
        schema=None,
    )

    return manager
