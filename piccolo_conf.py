"""Piccolo's configuration: the engine and the registry of apps. Importing it never connects."""

from __future__ import annotations

from piccolo.conf.apps import AppRegistry

from api_factory.db import Engine
from api_factory.settings import Settings

DB = Engine(config={"dsn": Settings().database_dsn})

APP_REGISTRY = AppRegistry(apps=["api_factory.piccolo_app"])
