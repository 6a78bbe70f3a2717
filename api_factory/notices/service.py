"""Notices: recorded with what they tell of, delivered until the receiver takes them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, Literal
from uuid import uuid4

from api_factory.db import Database
from api_factory.errors import BadUserInput, NotFound
from api_factory.ids import parse_public_id
from api_factory.log import redact
from api_factory.notices import store
from api_factory.notices.channels import Channels
from api_factory.notices.model import Delivery, NewNotice, NotDelivered

LOGGER = logging.getLogger("api_factory.notices")

PAUSES_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Between attempts, as Standard Webhooks recommends; after the last one the delivery is dead."""
LEASE_SECONDS: Final = 120.0
AT_ONCE: Final = 8
KEPT_DAYS: Final = 90
LARGEST_PAGE: Final = 500
_JITTER: Final = 0.1

State = Literal["pending", "delivered", "dead"]


class Notices:
    """The outbox of notices."""

    def __init__(
        self,
        db: Database,
        channels: Channels,
        *,
        observe: Callable[[str, str], None] = lambda channel, outcome: None,
    ) -> None:
        """Take the database, the channels, and who counts each attempt by channel and outcome."""
        self._db = db
        self._channels = channels
        self._observe = observe

    async def record(self, new: NewNotice) -> bool:
        """Record a notice for every channel; it commits or rolls back with what it tells of.

        Returns False when its `dedupe_key` was recorded before; nothing happens then. Raises `RuntimeError`
        outside a transaction.
        """
        if not self._db.is_in_transaction():
            raise RuntimeError("A notice belongs into the transaction of what it tells of.")
        return await store.insert_once(
            self._db,
            new,
            has_hook=self._channels.has_hook,
            owners=self._channels.owners,
            mails_customers=self._channels.mails_customers,
        )

    async def deliver_due(self) -> int:
        """Send what is due, several at once, until nothing is; return how many attempts that were.

        Any number of workers may call it: each delivery is with one of them, for `LEASE_SECONDS`.
        """
        attempts = 0
        while taken := await store.claim_due(self._db, uuid4(), LEASE_SECONDS, AT_ONCE):
            await asyncio.gather(*map(self._attempt, taken))
            attempts += len(taken)
        return attempts

    async def list(self, *, state: State | None = None, first: int = 50) -> tuple[Delivery, ...]:
        """Return up to `first` deliveries, the newest first, of one state when asked."""
        if not 0 <= first <= LARGEST_PAGE:
            raise BadUserInput(f"Ask for 0 to {LARGEST_PAGE} deliveries at once.")
        return await store.newest(self._db, state, first)

    async def resend(self, public_id: str) -> int:
        """Make every delivery of a notice due again that has ended; return how many. Raises `NotFound`."""
        notice_id = parse_public_id("msg", public_id)
        if notice_id is None or not await store.exists(self._db, notice_id):
            raise NotFound("There is no such notice; list them with `api-factory notice list`.")
        return await store.make_due(self._db, notice_id)

    async def send_test(self) -> tuple[Delivery, ...]:
        """Send the owner a notice of the kind `notice.test` through every channel; return how that went."""
        key = f"test:{uuid4()}"
        async with self._db.transaction():
            await self.record(NewNotice(kind="notice.test", dedupe_key=key, account_id=None, facts={}))
        await self.deliver_due()
        return await store.of_key(self._db, key)

    async def forget_old(self) -> int:
        """Delete notices older than `KEPT_DAYS` of which nothing is under way; return how many."""
        return await store.delete_older(self._db, KEPT_DAYS)

    async def counts(self) -> tuple[int, int, float]:
        """Return how many deliveries wait, how many are dead, and for how many seconds the oldest is due."""
        return await store.counts(self._db)

    async def _attempt(self, taken: Delivery) -> None:
        try:
            await self._channels.send(taken)
        except NotDelivered as refusal:
            await self._put_off(taken, refusal)
        else:
            self._observe(taken.channel.value, "delivered")
            await store.finish(self._db, taken, "delivered", error=None, pause_seconds=0)

    async def _put_off(self, taken: Delivery, refusal: NotDelivered) -> None:
        is_dead = refusal.is_final or taken.attempts > len(PAUSES_SECONDS)
        outcome = "dead" if is_dead else "failed"
        self._observe(taken.channel.value, outcome)
        reason = redact(refusal.reason)
        LOGGER.log(
            logging.ERROR if is_dead else logging.WARNING,
            "notice %s was not delivered by %s (attempt %d): %s",
            taken.notice.public_id,
            taken.channel.value,
            taken.attempts,
            reason,
        )
        await store.finish(
            self._db,
            taken,
            "dead" if is_dead else "pending",
            error=reason,
            pause_seconds=0 if is_dead else _pause_seconds(taken.attempts, refusal.retry_after_seconds),
        )


def _pause_seconds(attempts: int, retry_after_seconds: int | None) -> float:
    pause = PAUSES_SECONDS[attempts - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
    return max(pause, retry_after_seconds or 0)
