"""A Stripe to develop against: a server of its own that speaks Stripe's API, in memory, and charges nobody.

`python -m fake_stripe` runs it. Nothing of API-Factory imports it, and it imports nothing of API-Factory:
the two meet over HTTP alone, through the official `stripe` package. README.md says what it can do and where
it differs from Stripe.
"""

from __future__ import annotations

API_VERSION = "2026-10-28.endive"
"""The version whose shapes it speaks, the one that stripe-python 16.1 pins."""
