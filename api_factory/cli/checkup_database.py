"""The doctor's checks of the database: reachable, new enough, migrated, in time, and its books right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from api_factory.cli import store
from api_factory.cli.checkup import pepper_path
from api_factory.cli.findings import Finding, fail, failed_by, ok, warn
from api_factory.db import Database, applied_migrations, known_migrations, pending_migrations
from api_factory.errors import ApiFactoryError
from api_factory.settings import Settings
from api_factory.usage import Usage

OLDEST_SERVER = 150_000
LARGEST_SKEW_SECONDS = 5.0

_Check = Callable[[Database, Settings], Awaitable[Finding]]


async def examine_database(settings: Settings) -> list[Finding]:
    """Run every check; where the database does not answer, that is the one finding."""
    database = Database(settings.database_dsn, pool_size=1)
    try:
        await database.open()
    except Exception as error:
        cause = error.__cause__ or error
        detail = f"{settings.database_dsn} does not answer: {cause or type(cause).__name__}"
        return [fail("database", detail, "start the server, or correct DATABASE_URL")]
    try:
        found = await _examine(database, settings, (("database", _version), ("clock", _clock)))
        migrations = await _examine(database, settings, (("migrations", _migrations),))
        if migrations[0].status != "ok":  # the rest asks tables that may not be there
            return found + migrations
        books = (("pepper", _pepper), ("partitions", _partitions), ("ledger", _ledger))
        return found + migrations + await _examine(database, settings, books)
    finally:
        await database.close()


async def _examine(
    database: Database, settings: Settings, checks: Sequence[tuple[str, _Check]]
) -> list[Finding]:
    found = []
    for name, check in checks:
        try:
            found.append(await check(database, settings))
        except ApiFactoryError as error:
            found.append(failed_by(name, error))
    return found


async def _version(database: Database, settings: Settings) -> Finding:
    number = await store.server_version(database)
    version = f"PostgreSQL {number // 10_000}.{number % 10_000}"
    if number < OLDEST_SERVER:
        return fail("database", f"{version} is too old", "use PostgreSQL 15 or newer")
    return ok("database", f"{version} at {settings.database_dsn}")


async def _clock(database: Database, settings: Settings) -> Finding:
    skew_seconds = (await store.server_time(database) - datetime.now(UTC)).total_seconds()
    if abs(skew_seconds) > LARGEST_SKEW_SECONDS:
        detail = (
            f"the database's clock is {skew_seconds:+.1f} s off this machine's; quotas go by the database's"
        )
        return warn("clock", detail, "let both follow NTP")
    return ok("clock", f"within {LARGEST_SKEW_SECONDS:.0f} s of the database's")


async def _migrations(database: Database, settings: Settings) -> Finding:
    pending = await pending_migrations(database)
    if pending:
        fix = "run `api-factory migrate`; the next start does it too"
        return warn("migrations", f"{len(pending)} are not applied: {', '.join(pending)}", fix)
    applied = await applied_migrations(database)
    if unknown := [name for name in applied if name not in known_migrations()]:
        fix = "use the version that made them, or undo them with it"
        return warn("migrations", f"made by a newer version: {', '.join(unknown)}", fix)
    return ok("migrations", f"{len(applied)} applied, none pending")


async def _pepper(database: Database, settings: Settings) -> Finding:
    used = await store.pepper_versions(database)
    if not used:
        return ok("issued keys", "there are none that work")
    # Asking for the peppers would make the file that is missing.
    is_missing = settings.key_pepper is None and not pepper_path(settings).exists()
    if is_missing:
        detail = f"{pepper_path(settings)} is gone, and the keys issued under it no longer work"
        return fail(
            "issued keys", detail, "restore the file, or rotate every key with `api-factory key rotate`"
        )
    if lost := [version for version in used if version not in settings.peppers]:
        detail = f"some were hashed under pepper version {_listed(lost)}, which is not configured"
        fix = "add it to API_FACTORY_KEY_PEPPER again, or rotate those keys with `api-factory key rotate`"
        return fail("issued keys", detail, fix)
    detail = f"hashed under pepper version {_listed(used)}, configured; whether the secret is the same is not"
    return ok("issued keys", f"{detail} checked")


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


async def _partitions(database: Database, settings: Settings) -> Finding:
    missing = await store.missing_partitions(database)
    if missing:
        detail = f"usage_event has no partition for {', '.join(missing)}; events go to the default one"
        return warn("partitions", detail, "start a server, which makes them every hour")
    return ok("partitions", "made for this month and the next")


async def _ledger(database: Database, settings: Settings) -> Finding:
    found = await Usage(database).verify()
    if found.drift:
        detail = f"balances differ from their events by {found.drift} units"
        return fail("ledger", detail, "run `api-factory usage verify --json` and keep what it says")
    return ok("ledger", f"{found.counters} balances equal the sum of their {found.calls} calls")
