"""Payments of open invoices that this server asks for: each once, under an idempotency key of its own."""

from __future__ import annotations

import logging
from typing import Final
from uuid import uuid4

from api_factory.audit import Audit
from api_factory.billing.dunning import may_ask_again
from api_factory.billing.inbox import Inbox
from api_factory.billing.service import CLOCK
from api_factory.billing.store import dunning as store
from api_factory.billing.store.dunning import ClaimedAttempt
from api_factory.db import Database
from api_factory.errors import ApiFactoryError, StripeMisconfigured, StripeRefused, Unavailable

LOGGER = logging.getLogger("api_factory.billing")

LEASE_SECONDS: Final = 120.0
PAUSE_SECONDS: Final = 60.0
MOST_TRIES: Final = 30
"""Half an hour of silence: far below the day for which Stripe remembers an idempotency key."""


class PaymentAttempts:
    """Asks for the payments that episodes want."""

    def __init__(self, db: Database, audit: Audit, inbox: Inbox) -> None:
        self._db = db
        self._audit = audit
        self._inbox = inbox
        self._stripe = inbox.stripe

    async def ask_due(self) -> int:
        """Ask for every payment that is due; return how many that were.

        Any number of workers may call it. One that dies after Stripe has charged leaves the attempt to
        another, whose request has the same idempotency key and is answered without a second charge.
        """
        await store.skip_attempts_of_closed(self._db)
        asked = 0
        while (attempt := await store.claim_attempt(self._db, uuid4(), LEASE_SECONDS)) is not None:
            await self._ask(attempt)
            asked += 1
        return asked

    async def _ask(self, attempt: ClaimedAttempt) -> None:
        try:
            state, code, remark = await self._outcome(attempt)
        except StripeRefused as refused:
            state, code, remark = "failed", refused.stripe_code, refused.message
        except Unavailable as error:
            if attempt.tries < MOST_TRIES or isinstance(error, StripeMisconfigured):
                await store.put_off_attempt(self._db, attempt, PAUSE_SECONDS, error.message)
                return
            state, code, remark = "failed", None, error.message
        async with self._db.transaction():
            if not await store.end_attempt(self._db, attempt, state, code, remark):
                return
            after = {"state": state, "decline_code": code, "cause": attempt.cause}
            await self._audit.record(
                CLOCK, "attempted", "invoice", attempt.invoice_id, before=None, after=after
            )
        if state != "skipped":
            await self._look_again(attempt)

    async def _outcome(self, attempt: ClaimedAttempt) -> tuple[str, str | None, str | None]:
        """Ask, unless the invoice as it is now speaks against it; return state, decline code and remark."""
        invoice = await self._stripe.invoice(attempt.invoice_id)
        # What was asked for before under this key may have been done: only its answer tells.
        if attempt.tries == 1 and (invoice is None or not may_ask_again(invoice, attempt.cause)):
            return "skipped", None, "The invoice is not to be paid this way now."
        payment = await self._stripe.pay(
            attempt.invoice_id,
            payment_method_id=attempt.payment_method_id,
            idempotency_key=attempt.idempotency_key,
        )
        return "paid" if payment.is_paid else "declined", payment.decline_code, None

    async def _look_again(self, attempt: ClaimedAttempt) -> None:
        """Let the projection see the outcome even if its webhooks are lost."""
        try:
            await self._inbox.refresh(attempt.customer_id)
        except ApiFactoryError as error:
            LOGGER.warning("a payment's outcome is left to the webhooks: %s", error.message)
