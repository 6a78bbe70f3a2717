"""Keys: issued once, changed by audited verbs, proven without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Final
from uuid import UUID

from api_factory import changes
from api_factory.accounts import checked_text
from api_factory.audit import Actor, Audit
from api_factory.db import Database
from api_factory.errors import BadUserInput, InvalidState, LimitReached, NotFound
from api_factory.ids import public_id, uuid7
from api_factory.keys import request, secret, store
from api_factory.keys.grantor import Grantor
from api_factory.keys.lifecycle import KeyStatus, KeyVerb, refuse_unless_allowed
from api_factory.keys.model import IssuedKey, Key, KeyPage, KeySnapshot, NewKey, SecretDigest
from api_factory.keys.secret import Presented

LARGEST_PAGE: Final = 500
DEFAULT_PAGE: Final = 50
MOST_LIVING_SECRETS: Final = 5
LONGEST_GRACE_SECONDS: Final = 90 * 86_400
MOST_PENDING_REHASHES: Final = 10_000


class Keys:
    """The keys of all accounts.

    With `account_id` a verb reaches only keys of that account: the others are missing, exactly as if they
    did not exist. With `grantor`, the key that acts, it is refused as the guard would refuse that key now
    (see `Grantor.refuse_unless_standing`), and nothing is made or set free that reaches further than it.
    """

    def __init__(self, db: Database, audit: Audit, peppers: Mapping[int, bytes]) -> None:
        """Take the peppers by version; the highest hashes new secrets, the others still prove old ones."""
        self._db = db
        self._audit = audit
        self._peppers = dict(peppers)
        self._pepper_version = max(self._peppers)
        self._rehashed: dict[UUID, bytes] = {}

    async def create(
        self,
        account_id: UUID,
        new: NewKey,
        *,
        by: Actor,
        known_scopes: frozenset[str] | None = None,
        grantor: Grantor | None = None,
    ) -> IssuedKey:
        """Issue a key; any number of callers at once never exceed the plan's number of keys.

        A suspended account may get keys; they work once it is resumed. Raises `NotFound`, `BadUserInput`,
        `LimitReached`, and `ScopeNotGranted` for what reaches further than `grantor`.
        """
        new = request.checked(new, known_scopes)
        async with self._db.transaction():
            await self._lock_account(account_id, grantor)
            request.refuse_unless_ahead(new.expires_at, await store.database_now(self._db))
            if grantor is not None:
                grantor.refuse_wider(new)
            await self._refuse_over_limit(account_id)
            key_id = uuid7()
            await store.insert_key(self._db, key_id, account_id, new)
            text = await self._issue_secret(new.livemode, key_id)
            key = _existing(await store.key_by_id(self._db, key_id), None)
            await self._audit.record(by, "created", "key", key.public_id, before=None, after=_facts(key))
            return IssuedKey(key, text)

    async def find(self, key_id: UUID, *, account_id: UUID | None = None) -> Key:
        """Return a key. Raises `NotFound`, alike for a missing key and another account's."""
        return _existing(await store.key_by_id(self._db, key_id), account_id)

    async def list(
        self,
        *,
        account_id: UUID | None = None,
        status: KeyStatus | None = None,
        after: UUID | None = None,
        before: UUID | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> KeyPage:
        """Return keys, the newest first: `first` behind the key `after`, or `last` ahead of `before`.

        Raises `BadUserInput` when both directions are asked for or the page is too large.
        """
        size = _page_size(first if last is None else last)
        if (first is not None or after is not None) and (last is not None or before is not None):
            raise BadUserInput("Page in one direction: first and after, or last and before.")
        chosen = store.Filter(account_id, status)
        total = await store.count(self._db, chosen)
        if last is None and before is None:
            found = await store.keys_after(self._db, chosen, after, size + 1)
            keys, behind = found[:size], len(found) > size
            ahead = after is not None and bool(await store.keys_before(self._db, chosen, _previous(after), 1))
        else:
            found = await store.keys_before(self._db, chosen, before, size + 1)
            keys, ahead = found[-size:] if size else (), len(found) > size
            behind = before is not None and bool(await store.keys_after(self._db, chosen, _next(before), 1))
        return KeyPage(keys, behind, ahead, total)

    async def count_by_status(self) -> dict[str, int]:
        """Return how many keys there are in each state, of all accounts."""
        return dict.fromkeys(KeyStatus, 0) | await store.count_by_status(self._db)

    async def suspend(
        self,
        key_id: UUID,
        *,
        by: Actor,
        account_id: UUID | None = None,
        reason: str | None = None,
        grantor: Grantor | None = None,
    ) -> Key:
        """Stop a key until it is resumed: no charge of it commits after this returns."""
        return await self._move(key_id, KeyVerb.SUSPEND, by, account_id, reason, grantor)

    async def resume(
        self,
        key_id: UUID,
        *,
        by: Actor,
        account_id: UUID | None = None,
        reason: str | None = None,
        grantor: Grantor | None = None,
    ) -> Key:
        """Let a suspended key work again; a key resumes only what a key suspended."""
        return await self._move(key_id, KeyVerb.RESUME, by, account_id, reason, grantor)

    async def revoke(
        self,
        key_id: UUID,
        *,
        by: Actor,
        account_id: UUID | None = None,
        reason: str | None = None,
        grantor: Grantor | None = None,
    ) -> Key:
        """End a key for ever: no charge of it commits after this returns."""
        return await self._move(key_id, KeyVerb.REVOKE, by, account_id, reason, grantor)

    async def rotate(
        self,
        key_id: UUID,
        *,
        grace_seconds: int = 0,
        by: Actor,
        account_id: UUID | None = None,
        grantor: Grantor | None = None,
    ) -> IssuedKey:
        """Give a key a new secret; its id, quota, limits and history stay.

        The old secrets work for `grace_seconds` more by the database's clock; with 0 none of them charges
        after this returns. Raises `LimitReached` when too many secrets would be living.
        """
        if not 0 <= grace_seconds <= LONGEST_GRACE_SECONDS:
            raise BadUserInput(f"The grace is from 0 to {LONGEST_GRACE_SECONDS} seconds (90 days).")
        async with self._db.transaction():
            key = await self._lock(key_id, account_id, grantor)
            refuse_unless_allowed(key.status, KeyVerb.ROTATE)
            _refuse_wider(key, grantor)
            epoch = await changes.next_epoch(self._db)
            if await store.end_secrets(self._db, key_id, grace_seconds) >= MOST_LIVING_SECRETS:
                raise LimitReached(
                    f"The key has {MOST_LIVING_SECRETS} secrets in their grace; "
                    "wait for one to end or rotate without grace."
                )
            await store.delete_dead_secrets(self._db, key_id)
            text = await self._issue_secret(key.livemode, key_id)
            await store.update_epoch(self._db, key_id, epoch)
            rotated = _existing(await store.key_by_id(self._db, key_id), None)
            before, after = {"hint": key.hint}, {"hint": rotated.hint, "grace_seconds": grace_seconds}
            await self._audit.record(by, "rotated", "key", key.public_id, before=before, after=after)
            await changes.notify(self._db, epoch)
            return IssuedKey(rotated, text)

    def verify(
        self, presented: Presented, snapshot: KeySnapshot | None, *, now: datetime | None = None
    ) -> SecretDigest | None:
        """Return the secret that was presented, or None; the time it takes does not tell why.

        `now`, a moment of the database's clock, also refuses secrets whose grace is over. A key that does
        not exist (None) costs as much as one that does.
        """
        living = () if snapshot is None else _living(snapshot.secrets, now)
        place = secret.matches(
            (self._digest(presented.text, stored.pepper_version), stored.digest)
            for stored in living or _NOBODYS
        )
        if place is None or not living:
            return None
        proven = living[place]
        if proven.pepper_version < self._pepper_version and len(self._rehashed) < MOST_PENDING_REHASHES:
            self._rehashed[proven.id] = self._digest(presented.text, self._pepper_version)
        return proven

    async def touch(self, used: Mapping[UUID, datetime]) -> None:
        """Remember when keys were last used, many at once; a moment never moves backwards.

        Also writes the new digests of secrets that were proven under an older pepper.
        """
        if used:
            await store.touch(self._db, used)
        if self._rehashed:
            rehashed, self._rehashed = self._rehashed, {}
            await store.rehash(self._db, rehashed, self._pepper_version)

    async def _move(
        self,
        key_id: UUID,
        verb: KeyVerb,
        by: Actor,
        account_id: UUID | None,
        reason: str | None,
        grantor: Grantor | None,
    ) -> Key:
        reason = checked_text("reason", reason or "", longest=500) or None
        async with self._db.transaction():
            key = await self._lock(key_id, account_id, grantor)
            refuse_unless_allowed(key.status, verb)
            if verb is KeyVerb.RESUME:
                _refuse_unless_theirs_to_resume(key, by)
                _refuse_wider(key, grantor)
            status, done = _OUTCOMES[verb]
            epoch = await changes.next_epoch(self._db)
            await store.update_status(self._db, key_id, epoch, status, reason=reason, by=by.kind)
            moved = _existing(await store.key_by_id(self._db, key_id), None)
            before: dict[str, object] = {"status": key.status}
            after: dict[str, object] = {"status": moved.status, "reason": reason}
            await self._audit.record(by, done, "key", key.public_id, before=before, after=after)
            await changes.notify(self._db, epoch)
            return moved

    async def _lock(self, key_id: UUID, account_id: UUID | None, grantor: Grantor | None) -> Key:
        """Lock the account's mutex, then the key's row; a key never changes its account."""
        found = _existing(await store.key_by_id(self._db, key_id), account_id)
        await self._lock_account(found.account_id, grantor)
        key = await store.lock_key_by_id(self._db, key_id)
        is_hidden = key is not None and grantor is not None and not grantor.sees(key)
        return _existing(None if is_hidden else key, account_id)

    async def _lock_account(self, account_id: UUID, grantor: Grantor | None) -> None:
        """Lock the account's mutex; from then on nobody can take away what the acting key may do.

        The guard let it in by what a worker remembers, and since then it may have been revoked: whoever
        revokes a stolen key must not find keys afterwards that it made for itself.
        """
        await changes.lock_account(self._db, account_id)
        if grantor is not None:
            grantor.refuse_unless_standing(await store.standing(self._db, grantor.key_id, account_id))

    async def _refuse_over_limit(self, account_id: UUID) -> None:
        limit = await store.key_limit(self._db, account_id)
        if limit is None:
            raise NotFound("There is no such account; give its id, such as acc_…, or its e-mail.")
        if await store.count_unrevoked(self._db, account_id) >= limit:
            raise LimitReached(
                f"The plan allows {limit} keys that are not revoked; revoke one or choose a larger plan."
            )

    async def _issue_secret(self, livemode: bool, key_id: UUID) -> str:
        text = secret.mint(livemode, key_id)
        stored = SecretDigest(
            uuid7(), self._digest(text, self._pepper_version), self._pepper_version, not_after=None
        )
        await store.insert_secret(self._db, key_id, stored, secret.hint(text))
        return text

    def _digest(self, text: str, pepper_version: int) -> bytes:
        # A pepper that was taken away proves nothing, in the time that a present one takes.
        pepper = self._peppers.get(pepper_version)
        return secret.digest(text, pepper) if pepper is not None else secret.digest(text, b"")[:0]


_OUTCOMES: Final[Mapping[KeyVerb, tuple[KeyStatus, str]]] = {
    KeyVerb.SUSPEND: (KeyStatus.SUSPENDED, "suspended"),
    KeyVerb.RESUME: (KeyStatus.ACTIVE, "resumed"),
    KeyVerb.REVOKE: (KeyStatus.REVOKED, "revoked"),
}
_NOBODYS: Final = (SecretDigest(UUID(int=0), bytes(32), 0, None),)


def _living(secrets: tuple[SecretDigest, ...], now: datetime | None) -> tuple[SecretDigest, ...]:
    if now is None:
        return secrets
    return tuple(stored for stored in secrets if not stored.is_dead(now))


def _existing(key: Key | None, account_id: UUID | None) -> Key:
    if key is None or (account_id is not None and key.account_id != account_id):
        raise NotFound("There is no such key here; list the keys to see which there are.")
    return key


def _refuse_wider(key: Key, grantor: Grantor | None) -> None:
    # Itself it may always rotate, even when its plan has come to allow less: that widens nothing.
    if grantor is not None and grantor.key_id != key.id:
        grantor.refuse_wider(key)


def _refuse_unless_theirs_to_resume(key: Key, by: Actor) -> None:
    if by.kind == "key" and key.suspended_by != "key":
        state = f"{key.status.value} by the operator"
        raise InvalidState(KeyVerb.RESUME.value, state, (KeyVerb.REVOKE.value,))


def _page_size(wanted: int | None) -> int:
    size = DEFAULT_PAGE if wanted is None else wanted
    if not 0 <= size <= LARGEST_PAGE:
        raise BadUserInput(f"Ask for 0 to {LARGEST_PAGE} keys at once.")
    return size


def _previous(key_id: UUID) -> UUID:
    return UUID(int=max(0, key_id.int - 1))


def _next(key_id: UUID) -> UUID:
    return UUID(int=min(2**128 - 1, key_id.int + 1))


def _facts(key: Key) -> dict[str, object]:
    """Return what the audit log tells of a new key: what was chosen, and of the secret its hint."""
    facts = asdict(key)
    chosen = ("name", "livemode", "status", "scopes", "allowed_actions", "cidrs", "cap_units", "metadata")
    return {
        "account": public_id("acc", key.account_id),
        **{name: facts[name] for name in (*chosen, "trusted_documents_only", "expires_at", "hint")},
    }
