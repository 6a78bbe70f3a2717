"""One short-lived command at the engine: settings, database and services there and back."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import getpass
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from api_factory.audit.model import Actor
from api_factory.errors import ConfigurationError
from api_factory.settings import Settings, load_settings

if TYPE_CHECKING:
    from api_factory.wiring import Engine

Result = TypeVar("Result")

ACTIONS_VARIABLE = "API_FACTORY_ACTIONS"

actions_option = click.option(
    "--actions", "modules", multiple=True, metavar="MODULE", help="A module with actions; may be repeated."
)


def at_engine(
    work: Callable[[Engine], Awaitable[Result]],
    *,
    modules: Sequence[str] = (),
    with_actions: bool = False,
) -> Result:
    """Run the work on an open engine and close it, whatever happens.

    Several commands may run at once, on an empty data directory too. Only `with_actions` are the authors'
    modules imported: a key can be revoked while one of them is broken.
    """
    from api_factory import wiring
    from api_factory.actions import Catalogue

    settings = prepared_settings(modules)
    with database_turn(settings), wiring.embedded_database(settings):
        engine = wiring.build_engine(settings, catalogue=None if with_actions else Catalogue(()))
        return asyncio.run(_with_open_engine(engine, work))


def prepared_settings(modules: Sequence[str] = ()) -> Settings:
    """Read the settings, with these modules of actions added, and send the logs where they say.

    The modules go into the environment, from where the processes started here read them.
    """
    from api_factory import log
    from api_factory.home import settle_home

    settle_home()
    settings = load_settings()
    if modules:
        os.environ[ACTIONS_VARIABLE] = ",".join(dict.fromkeys((*settings.actions, *modules)))
        settings = load_settings()
    log.configure(settings.effective_log_format, "warning")
    return settings


@contextlib.contextmanager
def database_turn(settings: Settings) -> Iterator[None]:
    """Wait for the other commands at the embedded database; a database elsewhere needs no turns.

    The command that starts the embedded database also stops it: another that had attached meanwhile
    would lose it under its feet.
    """
    if not settings.uses_embedded_database:
        yield
        return
    descriptor = _open_turn(settings)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def actor() -> Actor:
    """Return who is named in the audit log: the user of the operating system."""
    try:
        return Actor("cli", getpass.getuser())
    except (KeyError, OSError):  # a container may run under a number that has no name
        return Actor("cli", f"uid-{os.getuid()}")


async def _with_open_engine(engine: Engine, work: Callable[[Engine], Awaitable[Result]]) -> Result:
    await engine.open(migrate=await _is_unused(engine), background=False)
    try:
        return await work(engine)
    finally:
        await engine.close()


async def _is_unused(engine: Engine) -> bool:
    """Tell whether the database never had tables, or has no plans yet.

    Plans are applied then and at the start of a server, not by every command: it would undo `plan apply`.
    Tables are made only then, for a migration that somebody undid must stay undone.

    Raises:
        ConfigurationError: Migrations are missing from a database that has had some.
    """
    from api_factory.db import is_new, pending_migrations

    await engine.db.open()
    try:
        if await is_new(engine.db):
            return True
        if pending := await pending_migrations(engine.db):
            raise ConfigurationError(
                f"The database lacks {len(pending)} migrations of this version; run `api-factory migrate`."
            )
        return not await engine.plans.list(include_archived=True)
    finally:
        await engine.db.close()


def _open_turn(settings: Settings) -> int:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(settings.data_dir / ".turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The data directory {settings.data_dir} cannot be written to ({error.strerror}); set "
            "API_FACTORY_DATA_DIR to one that can, or DATABASE_URL to a server."
        ) from error
