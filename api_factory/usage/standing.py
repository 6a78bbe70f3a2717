"""Where an account stands in its present period."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, NamedTuple


class QuotaStanding(NamedTuple):
    """The numbers of a committed row: units used, held by running calls, and left; a tuple, as `Payer` is."""

    livemode: bool
    included: int | None
    """Units of the period; None is unlimited."""
    used: int
    reserved: int
    period_start: datetime
    period_end: datetime
    reset_seconds: int
    """Seconds to the next period by the database's clock, rounded up."""
    cap_units: int | None = None
    """What the key alone may use a period; None when it has no cap of its own."""
    cap_used: int = 0
    is_hard: bool = True
    """Whether calls are refused once the units are used up; False on a plan that bills what is over."""

    @property
    def remaining(self) -> int | None:
        """Return the units that a call could still be charged; None when unlimited."""
        left = None if self.included is None else self.included - self.used - self.reserved
        if self.cap_units is not None:
            left_of_cap = self.cap_units - self.cap_used
            left = left_of_cap if left is None else min(left, left_of_cap)
        return None if left is None else max(0, left)

    @property
    def is_exhausted(self) -> bool:
        """Tell whether nothing but the next period or a change of plan can free a unit."""
        return self.is_hard and self.included is not None and self.used >= self.included

    @classmethod
    def from_row(cls, row: Any, *, livemode: bool) -> QuotaStanding:
        """Read a row of `ledger_commit`; a refused item may come without a period."""
        return cls(
            livemode=livemode,
            included=row["quota_limit"],
            used=row["used"],
            reserved=row["reserved"],
            period_start=row["period_start"] or datetime.fromtimestamp(0, UTC),
            period_end=row["period_end"] or datetime.fromtimestamp(0, UTC),
            reset_seconds=math.ceil(row["reset_seconds"] or 0),
            cap_units=row["key_limit"],
            cap_used=row["key_used"],
            is_hard=row["is_hard"],
        )
