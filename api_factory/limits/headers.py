"""The RateLimit header fields: draft-ietf-httpapi-ratelimit-headers-10, in the syntax of RFC 9651."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from api_factory.limits.windows import WindowStatus

_INTEGER_MAX = 999_999_999_999_999


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """The units of the current period, shown beside the windows as a policy of its own."""

    limit: int
    remaining: int
    reset_seconds: int
    period_seconds: int
    policy: str = "quota"
    unit: str = "units"


def render_policies(statuses: Iterable[WindowStatus], quota: QuotaStatus | None = None) -> str:
    """Return the value of `RateLimit-Policy`: `"minute";q=60;w=60`; empty when there is no policy."""
    items = [_policy(status.policy, status.limit, status.window_seconds) for status in statuses]
    if quota is not None:
        # Units are not in the draft's registry of quota units, so the parameter is a vendor's.
        unit = quote(quota.unit)
        items.append(f"{_policy(quota.policy, quota.limit, quota.period_seconds)};af-unit={unit}")
    return ", ".join(items)


def render_limits(statuses: Iterable[WindowStatus], quota: QuotaStatus | None = None) -> str:
    """Return the value of `RateLimit`: `"minute";r=59;t=42`; empty when there is no policy."""
    items = [f"{quote(policy)};r={remaining};t={reset}" for policy, _, _, remaining, reset in statuses]
    if quota is not None:
        remaining = _integer(quota.remaining)
        items.append(f"{quote(quota.policy)};r={remaining};t={_integer(quota.reset_seconds)}")
    return ", ".join(items)


@lru_cache(maxsize=4096)
def quote(text: str) -> str:
    """Return an RFC 9651 String (section 3.3.3); what it cannot hold is percent-encoded as UTF-8."""
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if " " <= character <= "~":
        return character
    return "".join(f"%{octet:02X}" for octet in character.encode("utf-8", "backslashreplace"))


@lru_cache(maxsize=4096)
def _policy(policy: str, limit: int, window_seconds: int) -> str:
    return f"{quote(policy)};q={_integer(limit)};w={_integer(max(1, window_seconds))}"


def _integer(value: int) -> int:
    # RFC 9651 section 3.3.1: an Integer has at most 15 digits; none of ours may be negative.
    return min(max(0, value), _INTEGER_MAX)
