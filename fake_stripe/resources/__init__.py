"""Stripe's objects, a module each: what the API can do with them, and their shape."""

from __future__ import annotations
