"""Piccolo's configuration: the engine and the registry of apps. Importing it never connects."""

from __future__ import annotations

from api_factory.home import settle_home

settle_home()  # the next import asks for a home

from piccolo.conf.apps import AppRegistry  # noqa: E402

from api_factory.db import Engine  # noqa: E402
from api_factory.settings import Settings  # noqa: E402

DB = Engine(config={"dsn": Settings().database_dsn})

APP_REGISTRY = AppRegistry(apps=["api_factory.piccolo_app"])
