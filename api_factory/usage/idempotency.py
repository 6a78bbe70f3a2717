"""Idempotency-Key: a request that is sent again is charged once and has one outcome.

An entry is taken before the work begins and finished in the transaction of the charge. So a retry finds
nothing (run it), a running attempt (409), or the outcome (the same bytes, no charge). An attempt whose
worker was given up loses its entry to the next retry, and whatever it does later cannot commit: the charge
is one. The action itself may then have run twice; only its author can prevent that.

The field's syntax is that of draft-ietf-httpapi-idempotency-key-header-06: a String of RFC 9651. A bare
word is taken for the same string without its quotes, because most clients send that.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from api_factory.db import Database
from api_factory.errors import (
    ApiFactoryError,
    BadUserInput,
    IdempotencyConflict,
    IdempotencyMismatch,
    IdempotencyOutcomeNotKept,
    Unavailable,
)
from api_factory.ids import uuid7
from api_factory.usage import store
from api_factory.usage.ledger import Payer, Stale, Worker
from api_factory.usage.outcomes import Entry, Finish, Outcome

LOGGER = logging.getLogger("api_factory.idempotency")

NAME_CHARACTERS_MAX: Final = 255
BODY_BYTES_MAX: Final = 262_144
RETRY_AFTER_SECONDS: Final = 1
CLEANED_AT_ONCE: Final = 1_000

# No comma and no semicolon: two header lines joined, or a parameter, are no name.
_WORD: Final = re.compile(r"[!#-+\--:<-\[\]-~]+")
_STRING: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class IdempotencyRequest:
    """The name that a client gave to its request, and the digest of what it asks for."""

    name: str
    fingerprint: bytes = field(repr=False)


def idempotency_request(
    text: str, *, method: str, path: str, query: bytes, body: bytes
) -> IdempotencyRequest:
    """Read the field's value and take the fingerprint of the request as it was sent.

    Raises `BadUserInput` when the value is no string of 1 to 255 printable ASCII characters.
    """
    digest = hashlib.sha256()
    for part in (method.encode(), path.encode(), query, body):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return IdempotencyRequest(_name_of(text.strip(" \t")), digest.digest())


def _name_of(text: str) -> str:
    quoted = _STRING.fullmatch(text)
    name = _ESCAPED.sub(r"\1", quoted[1]) if quoted else text
    if (quoted or _WORD.fullmatch(text)) and 0 < len(name) <= NAME_CHARACTERS_MAX:
        return name
    raise BadUserInput(
        f"Idempotency-Key must be one string of 1 to {NAME_CHARACTERS_MAX} printable ASCII characters, in "
        "double quotes or a bare word; send a new UUID for each new request."
    )


class Idempotency:
    """Keeps the entries of requests that may come again, each within one API key."""

    def __init__(
        self,
        db: Database,
        worker: Worker,
        *,
        ttl_seconds: float,
        longest_seconds: float,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        """Take how long entries are kept, and after how long no attempt can still be running."""
        self._db = db
        self._worker = worker
        self._ttl_seconds = ttl_seconds
        self._longest_seconds = longest_seconds
        self._body_bytes_max = body_bytes_max
        self._left: dict[UUID, Entry] = {}

    async def begin(self, request: IdempotencyRequest, payer: Payer, request_id: str) -> Entry | Outcome:
        """Take the entry for a new attempt, or return the outcome of the one that has ended.

        Raises `IdempotencyConflict` while another attempt runs, `IdempotencyMismatch` for another payload,
        `IdempotencyOutcomeNotKept`, `Stale`, or `Unavailable`. Nothing is held then.
        """
        for _ in range(2):
            entry, owner = Entry(payer.key_id, request.name, uuid7()), self._worker.id
            row = await self._begin(entry, request, payer, request_id)
            verdict: str = row["verdict"]
            if verdict == "begun":
                return entry
            if verdict == "replay":
                return self._outcome(row)
            if verdict != "no_worker":
                raise _refusal(verdict)
            await self._worker.replace(owner)
        raise Unavailable("This server is registering anew; retry.")

    def finish(self, entry: Entry, outcome: Outcome) -> Finish:
        """Return what ends the entry, for the ledger or for `keep`; a body beyond the bound is left out."""
        body = outcome.body if len(outcome.body) <= self._body_bytes_max else None
        return Finish(entry, outcome.status, outcome.code, outcome.media, body)

    async def keep(self, finish: Finish) -> None:
        """Store the outcome of an attempt that charges nothing.

        Raises `Unavailable` when another attempt has taken the entry over.
        """
        if not await store.finish_entry(self._db, finish):
            raise Unavailable("This server was given up while your call ran; nothing was charged; retry.")

    async def forget(self, entry: Entry) -> None:
        """Let the entry go, so that a retry runs; nothing happens to one that is done. Never raises."""
        self._left[entry.attempt] = entry
        try:
            await store.delete_running_entry(self._db, entry)
        except ApiFactoryError:
            LOGGER.warning("an idempotency entry could not be let go yet", exc_info=True)
        else:
            self._left.pop(entry.attempt, None)

    async def forget_left(self) -> None:
        """Let go what an outage or a vanished caller has left behind."""
        for entry in list(self._left.values()):
            await store.delete_running_entry(self._db, entry)
            self._left.pop(entry.attempt, None)

    async def clean(self) -> int:
        """Delete what has expired, a bounded number at once; return how many entries that were."""
        deleted, last = 0, CLEANED_AT_ONCE
        while last == CLEANED_AT_ONCE:
            last = await store.delete_expired_entries(self._db, CLEANED_AT_ONCE)
            deleted += last
        return deleted

    async def _begin(
        self, entry: Entry, request: IdempotencyRequest, payer: Payer, request_id: str
    ) -> store.Row:
        beginning = store.Beginning(
            entry=entry,
            account_id=payer.account_id,
            fingerprint=request.fingerprint,
            worker_id=self._worker.id,
            request_id=request_id,
            key_epoch=payer.key_epoch,
            account_epoch=payer.account_epoch,
            ttl_seconds=self._ttl_seconds,
            longest_seconds=self._longest_seconds,
        )
        try:
            return await store.begin_entry(self._db, beginning)
        except BaseException:
            # Whether it was taken is not known, and nobody else would let it go.
            self._left[entry.attempt] = entry
            raise

    def _outcome(self, row: store.Row) -> Outcome:
        if row["body"] is None:
            raise IdempotencyOutcomeNotKept(
                "The request with this Idempotency-Key was done, and its reply was larger than the "
                f"{self._body_bytes_max} bytes that are kept; it is not done again. Use a new key to do so.",
                extensions={"status": row["status"], "originalRequestId": row["request_id"]},
            )
        return Outcome(row["status"], row["code"], row["media"], row["body"], row["request_id"])


def _refusal(verdict: str) -> Exception:
    if verdict == "running":
        return IdempotencyConflict(retry_after_seconds=RETRY_AFTER_SECONDS)
    return IdempotencyMismatch() if verdict == "mismatch" else Stale()
