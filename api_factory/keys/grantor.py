"""The key that acts on keys: nothing that it makes or sets free reaches further than it does itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar
from uuid import UUID

from api_factory.errors import (
    AccountSuspended,
    InvalidKey,
    KeyExpired,
    KeySuspended,
    ScopeNotGranted,
    Unavailable,
)
from api_factory.keys.lifecycle import KeyStatus
from api_factory.keys.model import Key, KeySnapshot, KeyStanding, Network, NewKey

_Bound = TypeVar("_Bound", int, datetime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grantor:
    """The acting key as the guard let it in; `not_after` is the end of the secret that was presented.

    `scopes` are those it holds: its own that its plan allows. The epochs tell whether all of this still
    holds. None, and empty `networks`, bound nothing.
    """

    key_id: UUID
    key_epoch: int
    account_epoch: int
    not_after: datetime | None
    scopes: frozenset[str]
    livemode: bool
    allowed_actions: frozenset[str] | None
    networks: tuple[Network, ...]
    cap_units: int | None
    expires_at: datetime | None
    trusted_documents_only: bool = False

    @classmethod
    def of(cls, snapshot: KeySnapshot, not_after: datetime | None) -> Grantor:
        """Return the key of a snapshot as one that acts by a secret that ends at `not_after`."""
        return cls(
            key_id=snapshot.key_id,
            key_epoch=snapshot.key_epoch,
            account_epoch=snapshot.account_epoch,
            not_after=not_after,
            scopes=snapshot.held_scopes,
            livemode=snapshot.livemode,
            allowed_actions=snapshot.allowed_actions,
            networks=snapshot.networks,
            cap_units=snapshot.cap_units,
            expires_at=snapshot.expires_at,
            trusted_documents_only=snapshot.trusted_documents_only,
        )

    def refuse_unless_standing(self, standing: KeyStanding | None) -> None:
        """Return when the key may act now, as it was let in.

        Raises `InvalidKey`, `KeyExpired`, `KeySuspended` or `AccountSuspended` as the guard would, and
        `Unavailable` when the key or its account has changed since: the next attempt is decided anew.
        """
        if standing is None or standing.status is KeyStatus.REVOKED:
            raise InvalidKey
        if standing.status is KeyStatus.EXPIRED:
            raise KeyExpired
        if standing.status is KeyStatus.SUSPENDED:
            raise KeySuspended
        if standing.account_status != "ACTIVE":
            raise AccountSuspended
        if self.not_after is not None and self.not_after <= standing.database_now:
            raise InvalidKey
        if (standing.key_epoch, standing.account_epoch) != (self.key_epoch, self.account_epoch):
            raise Unavailable("The API key was changed while this was under way; send it again.")

    def sees(self, key: Key) -> bool:
        """Tell whether a key of the account is there for the acting one: to a test key, live ones are not."""
        return self.livemode or not key.livemode

    def refuse_wider(self, wanted: NewKey | Key) -> None:
        """Return when a key reaches no further than the acting one in anything.

        Raises `ScopeNotGranted` naming what is too wide: otherwise a key could make itself a stronger one.
        """
        missing = frozenset(wanted.scopes) - self.scopes
        if missing:
            raise ScopeNotGranted(missing)
        excess = self._excess(wanted)
        if excess is not None:
            raise ScopeNotGranted(message=f"The key would reach further than the acting one: it {excess}.")

    def _excess(self, wanted: NewKey | Key) -> str | None:
        if wanted.livemode and not self.livemode:
            return "is a live key, and a test key makes test keys only"
        if not self._holds_actions(wanted):
            return f"may call more actions; allow only {_listed(self.allowed_actions)}"
        if not self._holds_networks(wanted):
            return f"works from more networks; stay within {_listed(self.networks)}"
        if not _is_at_most(wanted.cap_units, self.cap_units):
            return f"may use more units; cap it at {self.cap_units} or less"
        if self.expires_at is not None and not _is_at_most(wanted.expires_at, self.expires_at):
            return f"works for longer; let it expire by {self.expires_at.isoformat()}"
        if self.trusted_documents_only and not wanted.trusted_documents_only:
            return "runs any document; restrict it to trusted documents"
        return None

    def _holds_actions(self, wanted: NewKey | Key) -> bool:
        if self.allowed_actions is None:
            return True
        return wanted.allowed_actions is not None and self.allowed_actions.issuperset(wanted.allowed_actions)

    def _holds_networks(self, wanted: NewKey | Key) -> bool:
        if not self.networks:
            return True
        # No networks at all is everywhere.
        return bool(wanted.cidrs) and all(
            any(_is_within(ip_network(cidr), network) for network in self.networks) for cidr in wanted.cidrs
        )


def _is_within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _is_at_most(wanted: _Bound | None, bound: _Bound | None) -> bool:
    return bound is None or (wanted is not None and wanted <= bound)


def _listed(names: frozenset[str] | tuple[Network, ...] | None) -> str:
    return ", ".join(sorted(map(str, names or ()))) or "none"
