"""API keys: any test key is this account's; a live key is refused before it could be used by mistake."""

from __future__ import annotations

import base64
import binascii

from fake_stripe.errors import unauthenticated

_TEST_PREFIXES = ("sk_test_", "rk_test_")


def require_test_key(authorization: str) -> None:
    """Refuse a request that does not carry a test key, as Bearer or as the user name of Basic."""
    kind, _, credentials = authorization.partition(" ")
    key = _user_name(credentials) if kind.lower() == "basic" else credentials
    if not key:
        raise unauthenticated(
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
    if not key.startswith(_TEST_PREFIXES):
        raise unauthenticated(
            "Invalid API Key provided: this server is not Stripe and takes only keys that begin with "
            "sk_test_ or rk_test_."
        )


def _user_name(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
