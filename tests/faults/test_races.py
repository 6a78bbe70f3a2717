"""Many workers and many clients at the edge of what is paid for."""

from __future__ import annotations

import pytest

from tests.faults.clients import UNITS, call, client, race
from tests.faults.conftest import Rounds
from tests.faults.ground import Ground, check_refusals

CALLS = 1_000
PAID_UNITS = 300


@pytest.mark.parametrize("where", ["account", "key"])
@pytest.mark.parametrize("action", ["work", "book"])
async def test_four_workers_deliver_and_charge_exactly_what_is_paid_for(
    ground: Ground, rounds: Rounds, action: str, where: str
) -> None:
    """Broken by admitting on `used + units` in `ledger_commit` without the row's lock: more than paid for."""
    for _ in rounds(1):
        limit = {"quota": PAID_UNITS} if where == "account" else {"cap": PAID_UNITS}
        customer = await ground.customer(**limit)
        calls = await race(ground.urls, customer.secret, action, calls=CALLS)
        # A worker that had to register anew has refused calls; what is left is left for these.
        async with client() as via:
            for url in ground.urls:
                while calls[-1].status != 429:
                    calls.append(await call(via, url, customer.secret, action))
        check_refusals(calls, 200, 429, 503)
        delivered = [each for each in calls if each.status == 200]
        assert len(delivered) * UNITS[action] == PAID_UNITS
        assert await ground.account_for(customer, calls) == PAID_UNITS
        assert await ground.counters(customer, of_key=where == "key") == [(PAID_UNITS, 0)]
        assert {each.code for each in calls if each.status == 429} == {"QUOTA_EXCEEDED"}
