"""The Piccolo app: which tables there are and where their migrations live."""

from __future__ import annotations

from pathlib import Path

from piccolo.conf.apps import AppConfig, table_finder

APP_CONFIG = AppConfig(
    app_name="api_factory",
    migrations_folder_path=str(Path(__file__).resolve().parent.parent / "migrations"),
    table_classes=table_finder(
        [
            "api_factory.accounts.tables",
            "api_factory.keys.tables",
            "api_factory.audit.tables",
            "api_factory.billing.tables",
        ],
        exclude_imported=True,
    ),
    migration_dependencies=[],
    commands=[],
)
