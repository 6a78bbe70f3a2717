"""Test cards and what becomes of a charge to them (https://docs.stripe.com/testing).

A card has a behaviour, which `/_fake/cards` can change later: `succeeds`, `requires_authentication`, or the
decline code with which its bank refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

SUCCEEDS = "succeeds"
AUTHENTICATION = "requires_authentication"

HARD_DECLINES = frozenset(
    {
        "authentication_required",
        "highest_risk_level",
        "incorrect_number",
        "lost_card",
        "pickup_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "stolen_card",
        "transaction_not_allowed",
    }
)
"""Declines after which Stripe tries no more on its own
(https://docs.stripe.com/billing/revenue-recovery/smart-retries)."""

DECLINES = HARD_DECLINES | {
    "do_not_honor",
    "expired_card",
    "generic_decline",
    "incorrect_cvc",
    "insufficient_funds",
    "processing_error",
}
_OWN_CODES = frozenset({"expired_card", "incorrect_cvc", "incorrect_number", "processing_error"})


@dataclass(frozen=True, slots=True)
class Card:
    """A test card: what is printed on it, and how it behaves."""

    number: str
    label: str
    behaviour: str = SUCCEEDS
    attaches: bool = True
    brand: str = "visa"


CARDS = {
    "pm_card_visa": Card("4242424242424242", "Visa, pays"),
    "pm_card_mastercard": Card("5555555555554444", "Mastercard, pays", brand="mastercard"),
    "pm_card_chargeCustomerFail": Card(
        "4000000000000341", "Visa, can be saved and is declined when charged", "generic_decline"
    ),
    "pm_card_authenticationRequired": Card(
        "4000002760003184", "Visa, its bank asks every time (3D Secure)", AUTHENTICATION
    ),
    "pm_card_chargeDeclined": Card("4000000000000002", "Visa, declined", "generic_decline", attaches=False),
    "pm_card_chargeDeclinedInsufficientFunds": Card(
        "4000000000009995", "Visa, insufficient funds", "insufficient_funds", attaches=False
    ),
    "pm_card_chargeDeclinedLostCard": Card("4000000000009987", "Visa, lost", "lost_card", attaches=False),
    "pm_card_chargeDeclinedStolenCard": Card(
        "4000000000009979", "Visa, stolen", "stolen_card", attaches=False
    ),
    "pm_card_chargeDeclinedExpiredCard": Card(
        "4000000000000069", "Visa, expired", "expired_card", attaches=False
    ),
    "pm_card_chargeDeclinedIncorrectCvc": Card(
        "4000000000000127", "Visa, wrong CVC", "incorrect_cvc", attaches=False
    ),
    "pm_card_chargeDeclinedProcessingError": Card(
        "4000000000000119", "Visa, processing error", "processing_error", attaches=False
    ),
}
"""Stripe's tokens for its test cards."""

_ALIASES = {
    "pm_card_visa_chargeDeclined" + name[len("pm_card_chargeDeclined") :]: name
    for name in CARDS
    if name.startswith("pm_card_chargeDeclined")
}
_BY_NUMBER = {card.number: card for card in CARDS.values()} | {
    "4000002500003155": CARDS["pm_card_authenticationRequired"]
}


def by_token(token: str) -> Card | None:
    """Return the test card of a token such as `pm_card_visa`."""
    return CARDS.get(_ALIASES.get(token, token))


def by_number(number: str) -> Card | None:
    """Return the test card of a number, spaces or not."""
    return _BY_NUMBER.get(number.replace(" ", ""))


def error_code(behaviour: str) -> str:
    """Return the error code that goes with a decline code."""
    if behaviour == AUTHENTICATION:
        return "authentication_required"
    return behaviour if behaviour in _OWN_CODES else "card_declined"


def decline_code(behaviour: str) -> str:
    """Return the decline code of a behaviour that is no success."""
    return "authentication_required" if behaviour == AUTHENTICATION else behaviour


def message(behaviour: str) -> str:
    """Return what the buyer is told."""
    if behaviour == "insufficient_funds":
        return "Your card has insufficient funds."
    if behaviour == "expired_card":
        return "Your card has expired."
    if behaviour == "incorrect_cvc":
        return "Your card's security code is incorrect."
    if behaviour == AUTHENTICATION:
        return "Your card was declined. This transaction requires authentication."
    return "Your card was declined."
