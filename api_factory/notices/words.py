"""What a mail says of each kind of notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api_factory.ids import public_id
from api_factory.money import format_amount
from api_factory.notices.model import Notice
from api_factory.printable import escaped

_LONGEST_SUBJECT: Final = 200

# For each kind: the subject, and the sentence for the customer; the owner reads the facts below it.
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "notice.test": ("A test", "This is a test."),
    "billing.payment_failed": (
        "A payment failed",
        "The payment of your subscription failed. Please check your payment method; the invoice is below.",
    ),
    "billing.action_required": (
        "A payment waits for confirmation",
        "Your bank asks you to confirm the payment of your subscription. Please open the invoice below.",
    ),
    "billing.suspended": (
        "API keys are suspended",
        "Your invoice is still open, so your API keys do not work for now. They work again, unchanged, as "
        "soon as it is paid.",
    ),
    "billing.reinstated": (
        "API keys work again",
        "Thank you: your payment has arrived and your API keys work again.",
    ),
    "billing.trial_ending": (
        "A trial ends soon",
        "Your trial ends soon. To go on without a break, please make sure that a payment method is on file.",
    ),
}
_LINKS: Final = ("hosted_invoice_url", "pay_url", "portal_url")


def words_of(notice: Notice, *, to_customer: bool) -> tuple[str, str]:
    """Return subject and text; a kind without words of its own is named as it is."""
    subject, sentence = _WORDS.get(notice.kind, (notice.kind, notice.kind))
    if to_customer:
        return subject, "\n\n".join([sentence, *_customer_lines(notice.facts)]) + "\n"
    account = "" if notice.account_id is None else public_id("acc", notice.account_id)
    title = f"{subject} ({account})" if account else subject
    lines = [f"{name}: {_value(name, notice.facts)}" for name in notice.facts]
    return title[:_LONGEST_SUBJECT], "\n".join([f"kind: {notice.kind}", f"account: {account}", *lines]) + "\n"


def _customer_lines(facts: Mapping[str, object]) -> list[str]:
    names = [name for name in ("amount_due", *_LINKS) if facts.get(name)]
    return [f"{name.replace('_', ' ').capitalize()}: {_value(name, facts)}" for name in names]


def _value(name: str, facts: Mapping[str, object]) -> str:
    value, currency = facts[name], facts.get("currency")
    if name.startswith("amount") and isinstance(value, int) and isinstance(currency, str):
        return format_amount(value, currency)
    return escaped(str(value))
