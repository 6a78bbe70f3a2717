from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from api_factory.accounts import Account
from api_factory.audit import Actor, Audit
from api_factory.clock import ManualClock
from api_factory.db import Database
from api_factory.keys import KeyCache, Keys, KeySnapshot, NewKey, Presented, parse, secret

MoveTime = Callable[[str], Awaitable[None]]


@pytest.fixture
def cache(database: Database) -> KeyCache:
    return KeyCache(database, ManualClock())


def read(text: str) -> Presented:
    presented = parse(text)
    assert presented is not None
    return presented


async def snapshot_of(cache: KeyCache, presented: Presented) -> KeySnapshot:
    cache.invalidate(presented.key_id)
    snapshot = await cache.get(presented.key_id)
    assert snapshot is not None
    return snapshot


async def test_the_holder_of_the_secret_is_proven(
    cache: KeyCache, keys: Keys, account: Account, by: Actor
) -> None:
    presented = read((await keys.create(account.id, NewKey(name="k"), by=by)).secret)
    snapshot = await snapshot_of(cache, presented)
    assert keys.verify(presented, snapshot) == snapshot.secrets[0]


async def test_a_well_formed_key_with_another_secret_proves_nothing(
    cache: KeyCache, keys: Keys, account: Account, by: Actor
) -> None:
    key = (await keys.create(account.id, NewKey(name="k"), by=by)).key
    forged = read(secret.mint(True, key.id))
    other_kind = read(secret.mint(False, key.id))
    snapshot = await snapshot_of(cache, forged)
    assert keys.verify(forged, snapshot) is None
    assert keys.verify(other_kind, snapshot) is None


def test_a_key_that_does_not_exist_proves_nothing(keys: Keys) -> None:
    assert keys.verify(read(secret.mint(True, uuid4())), None) is None


async def test_after_a_rotation_without_grace_only_the_new_secret_works(
    cache: KeyCache, keys: Keys, account: Account, by: Actor
) -> None:
    old = await keys.create(account.id, NewKey(name="k"), by=by)
    new = await keys.rotate(old.key.id, by=by)
    snapshot = await snapshot_of(cache, read(new.secret))
    assert keys.verify(read(old.secret), snapshot) is None
    assert keys.verify(read(new.secret), snapshot) is not None


async def test_the_grace_of_a_rotation_ends_by_the_clock_of_the_database(
    cache: KeyCache, keys: Keys, account: Account, by: Actor, move_time: MoveTime
) -> None:
    old = await keys.create(account.id, NewKey(name="k"), by=by)
    new = await keys.rotate(old.key.id, grace_seconds=3_600, by=by)
    before = await snapshot_of(cache, read(old.secret))
    assert len(before.secrets) == 2
    assert keys.verify(read(old.secret), before, now=cache.database_now()) is not None
    assert keys.verify(read(new.secret), before, now=cache.database_now()) is not None

    await move_time("59 minutes")
    await cache.poll()
    assert keys.verify(read(old.secret), before, now=cache.database_now()) is not None

    await move_time("61 minutes")
    await cache.poll()
    # The snapshot is as old as before; the clock alone ends the secret.
    assert keys.verify(read(old.secret), before, now=cache.database_now()) is None
    assert keys.verify(read(new.secret), before, now=cache.database_now()) is not None
    after = await snapshot_of(cache, read(old.secret))
    assert len(after.secrets) == 1
    assert keys.verify(read(old.secret), after) is None


async def test_a_second_rotation_never_lengthens_a_grace(
    cache: KeyCache, keys: Keys, account: Account, by: Actor, move_time: MoveTime
) -> None:
    oldest = await keys.create(account.id, NewKey(name="k"), by=by)
    await keys.rotate(oldest.key.id, grace_seconds=60, by=by)
    await keys.rotate(oldest.key.id, grace_seconds=3_600, by=by)
    await move_time("2 minutes")
    snapshot = await snapshot_of(cache, read(oldest.secret))
    assert keys.verify(read(oldest.secret), snapshot) is None
    assert len(snapshot.secrets) == 2


async def test_a_new_pepper_takes_over_the_secrets_that_are_used(
    cache: KeyCache, database: Database, audit: Audit, account: Account, by: Actor
) -> None:
    before = Keys(database, audit, {1: b"p" * 32})
    presented = read((await before.create(account.id, NewKey(name="k"), by=by)).secret)
    during = Keys(database, audit, {1: b"p" * 32, 2: b"q" * 32})
    proven = during.verify(presented, await snapshot_of(cache, presented))
    assert proven is not None
    assert proven.pepper_version == 1
    await during.touch({})
    after = Keys(database, audit, {2: b"q" * 32})
    renewed = after.verify(presented, await snapshot_of(cache, presented))
    assert renewed is not None
    assert (renewed.id, renewed.pepper_version) == (proven.id, 2)


async def test_a_secret_under_a_pepper_that_is_gone_proves_nothing(
    cache: KeyCache, database: Database, audit: Audit, account: Account, by: Actor
) -> None:
    before = Keys(database, audit, {1: b"p" * 32})
    presented = read((await before.create(account.id, NewKey(name="k"), by=by)).secret)
    after = Keys(database, audit, {2: b"q" * 32})
    assert after.verify(presented, await snapshot_of(cache, presented)) is None


async def test_the_same_secret_under_another_pepper_proves_nothing(
    cache: KeyCache, database: Database, audit: Audit, account: Account, by: Actor
) -> None:
    here, elsewhere = Keys(database, audit, {1: b"p" * 32}), Keys(database, audit, {1: b"q" * 32})
    presented = read((await here.create(account.id, NewKey(name="k"), by=by)).secret)
    assert elsewhere.verify(presented, await snapshot_of(cache, presented)) is None
