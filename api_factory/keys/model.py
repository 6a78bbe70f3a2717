"""What the slice speaks of: keys as their owner sees them, and as a worker remembers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from uuid import UUID

from api_factory.actions.names import DEFAULT_SCOPES
from api_factory.ids import public_id
from api_factory.keys.lifecycle import KeyStatus
from api_factory.rates import Rate

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key without its secrets; `prefix` and `hint` are the parts of its text that may be shown.

    `suspended_by` is the kind of actor that suspended it, None unless it is suspended.
    """

    id: UUID
    public_id: str
    account_id: UUID
    name: str
    livemode: bool
    status: KeyStatus
    suspended_reason: str | None
    suspended_by: str | None
    scopes: tuple[str, ...]
    allowed_actions: tuple[str, ...] | None
    cidrs: tuple[str, ...]
    cap_units: int | None
    trusted_documents_only: bool
    metadata: Mapping[str, object]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    prefix: str
    hint: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """What a new key is to be.

    `allowed_actions` None allows every action its scopes reach; empty `cidrs` allow every address;
    `cap_units` is a limit of its own within the account's quota; `trusted_documents_only` lets it run
    nothing but documents of the operator's manifest.
    """

    name: str
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    allowed_actions: tuple[str, ...] | None = None
    cidrs: tuple[str, ...] = ()
    cap_units: int | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    livemode: bool = True
    expires_at: datetime | None = None
    trusted_documents_only: bool = False


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key with the text its holder sends: the only moment that the secret is known. Never log it."""

    key: Key
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys, the newest first; whether there are older and newer ones; how many fit the filter in all."""

    keys: tuple[Key, ...]
    has_next: bool
    has_previous: bool
    total_count: int


@dataclass(frozen=True, slots=True)
class SecretDigest:
    """One secret of a key as it is stored; `not_after` None means until the key itself ends."""

    id: UUID
    digest: bytes = field(repr=False)
    pepper_version: int
    not_after: datetime | None

    def is_dead(self, now: datetime) -> bool:
        """Tell whether the secret has ended at a moment of the database's clock."""
        return self.not_after is not None and self.not_after <= now


@dataclass(frozen=True, kw_only=True)
class KeySnapshot:
    """All that the guard decides by, as it stood in one snapshot of the database.

    `account_epoch` is the greater of the account's and its plan's; the ledger checks both epochs again.
    Without slots, so that what follows from the fields is worked out once for all calls of the key.
    """

    key_id: UUID
    account_id: UUID
    plan_slug: str
    livemode: bool
    name: str
    status: KeyStatus
    scopes: frozenset[str]
    allowed_actions: frozenset[str] | None
    networks: tuple[Network, ...]
    metadata: Mapping[str, object]
    expires_at: datetime | None
    secrets: tuple[SecretDigest, ...]
    key_epoch: int
    account_epoch: int
    account_status: str
    pay_url: str | None = field(repr=False)
    rates: tuple[Rate, ...]
    plan_scopes: frozenset[str] | None
    cap_units: int | None
    trusted_documents_only: bool = False

    @cached_property
    def held_scopes(self) -> frozenset[str]:
        """The scopes that count: the key's own that its plan allows."""
        return self.scopes if self.plan_scopes is None else self.scopes & self.plan_scopes

    @cached_property
    def public_id(self) -> str:
        """The key's id as clients see it."""
        return public_id("key", self.key_id)

    @cached_property
    def public_account_id(self) -> str:
        """The account's id as clients see it."""
        return public_id("acc", self.account_id)

    def status_at(self, now: datetime) -> KeyStatus:
        """Return the key's state at a moment of the database's clock."""
        if self.status is KeyStatus.REVOKED or self.expires_at is None or self.expires_at > now:
            return self.status
        return KeyStatus.EXPIRED


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """Whether a key may act at a moment of the database's clock; the epochs are those of a `KeySnapshot`."""

    status: KeyStatus
    key_epoch: int
    account_status: str
    account_epoch: int
    database_now: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """A snapshot, None when there is no such key, with the change epoch and the moment it was read at."""

    snapshot: KeySnapshot | None
    epoch: int
    database_now: datetime
