"""Webhook signatures (https://docs.stripe.com/webhooks#verify-manually): `t=...,v1=...`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def signature(payload: bytes, secrets: Iterable[str], moment: int) -> str:
    """Return the header `Stripe-Signature`: the time, and a signature for each secret."""
    signed = str(moment).encode() + b"." + payload
    marks = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={moment}", *(f"v1={mark}" for mark in marks)])
