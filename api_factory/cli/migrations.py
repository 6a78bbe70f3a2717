"""`api-factory migrate`: the tables of the database, brought up to date or back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from api_factory.cli import output
from api_factory.cli.session import database_turn, prepared_settings
from api_factory.errors import BadUserInput, Unavailable
from api_factory.settings import Settings

Result = TypeVar("Result")


@click.command("migrate")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when something is to do.")
@click.option(
    "--down", metavar="ID", help="Undo this migration and those after it, with all that their tables hold."
)
@click.option("--yes", is_flag=True, help="Agree to the loss that --down means.")
@output.json_option
def migrate_command(check: bool, down: str | None, yes: bool) -> None:
    """Bring the tables of the database up to date. Servers do it themselves when they start.

    --check finds tables that no migration makes, without a database; where one can be reached it also
    finds migrations that are not applied.
    """
    if check and down is not None:
        raise click.UsageError("--check changes nothing, --down does; give one of them.")
    settings = prepared_settings()
    if check:
        _check(settings)
    elif down is not None:
        _down(settings, down, is_agreed=yes)
    else:
        _up(settings)


def _check(settings: Settings) -> None:
    from api_factory.cli import history

    missing = asyncio.run(history.drift())
    pending = _pending(settings)
    output.show({"drift": missing, "pending": pending})
    if missing:
        raise BadUserInput(
            f"The tables differ from the migrations in {len(missing)} places; write the migration with "
            "`piccolo migrations new api_factory --auto`."
        )
    if pending:
        raise BadUserInput(f"{len(pending)} migrations are not applied; run `api-factory migrate`.")
    output.next_step("nothing to do: tables and migrations agree")


def _pending(settings: Settings) -> list[str] | None:
    """Return what the database lacks; None when there is none to ask. A check starts and makes nothing."""
    from api_factory import db

    try:
        return asyncio.run(_at_database(settings, db.pending_migrations))
    except Unavailable:
        return None


def _up(settings: Settings) -> None:
    from api_factory import db, wiring

    with database_turn(settings), wiring.embedded_database(settings):
        applied = asyncio.run(_at_database(settings, db.migrate))
    output.show({"applied": applied})
    output.next_step("api-factory serve")


def _down(settings: Settings, first: str, *, is_agreed: bool) -> None:
    from api_factory import db, wiring
    from api_factory.cli import history

    async def back(database: db.Database) -> list[str]:
        applied = await db.applied_migrations(database)
        if first not in applied:
            raise BadUserInput(f"The migration {first} is not applied; applied are {', '.join(applied)}.")
        if unknown := set(applied) - set(db.known_migrations()):
            names = ", ".join(sorted(unknown))
            raise BadUserInput(
                f"This version does not know the migration {names}; undo it with the newer one."
            )
        if not is_agreed:
            undone = ", ".join(applied[applied.index(first) :])
            raise BadUserInput(
                f"Undoing {undone} drops what was made with it, and with the tables every account, key and "
                "usage record in them; back up, then add --yes."
            )
        return await history.go_back(database, first)

    with database_turn(settings), wiring.embedded_database(settings):
        undone = asyncio.run(_at_database(settings, back))
    output.show({"undone": undone})
    output.next_step("api-factory migrate applies them again")


async def _at_database(settings: Settings, work: Callable[..., Awaitable[Result]]) -> Result:
    from api_factory.db import Database

    database = Database(settings.database_dsn, pool_size=1)
    await database.open()
    try:
        return await work(database)
    finally:
        await database.close()
