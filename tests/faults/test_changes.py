"""What an operator changes holds for every commit after his command has returned, under load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tests.faults.clients import Load, Standing, client
from tests.faults.conftest import Rounds
from tests.faults.ground import Customer, Ground, check_refusals
from tests.faults.serving import command
from tests.faults.waiting import until

FURTHER_CALLS = 64

# When the row's transaction committed, which is later than the moment that the row names.
_LATEST = """
SELECT max(pg_xact_commit_timestamp(xmin)) AS committed, max(at) AS at
FROM usage_event WHERE key_id = $1 AND units > 0
"""


async def _change(ground: Ground, load: Load, *arguments: str) -> tuple[datetime, float]:
    """Run a command under load; return when it had returned, by the database's clock and by ours."""
    await until(lambda: load.count(200) > 32, "calls are answered")
    async with ground.connected() as connection:
        await command(ground.variables(), *arguments)
        returned = await connection.fetchval("SELECT clock_timestamp()")
    return returned, time.monotonic()


async def _no_later_commit(ground: Ground, customer: Customer, returned: datetime) -> None:
    async with ground.connected() as connection:
        latest = await connection.fetchrow(_LATEST, customer.key_id)
    assert latest is not None
    assert latest["committed"] <= returned
    assert latest["at"] <= returned


async def _refused_from_then(
    ground: Ground, customer: Customer, arguments: Sequence[str], directory: Path, *, status: int
) -> None:
    async with client() as via, ground.load(customer).running() as load:
        standing = Standing(directory)
        for url in ground.urls:
            for action in ("linger", "hold"):
                await standing.send(via, url, customer.secret, action)
        returned, since = await _change(ground, load, *arguments)
        late = await standing.let_go()
        await until(lambda: load.count(status, since=since) >= FURTHER_CALLS, f"calls get {status}")
    # Admitted before and ended after: neither answered nor charged.
    assert {each.status for each in late} == {status}
    check_refusals(load.calls, 200, status, 503)
    assert load.count(200, since=since) == 0
    await _no_later_commit(ground, customer, returned)
    assert await ground.account_for(customer, [*load.calls, *late]) > 0


async def test_nothing_is_charged_to_a_key_after_its_revoke_has_returned(
    ground: Ground, rounds: Rounds, tmp_path: Path
) -> None:
    """Broken by a `ledger_commit` that trusts what the caller knew of the key: answered and charged after."""
    for _ in rounds(1):
        customer = await ground.customer()
        revoke = ("key", "revoke", customer.key)
        await _refused_from_then(ground, customer, revoke, tmp_path, status=401)


async def test_nothing_is_charged_to_an_account_after_its_suspension_has_returned(
    ground: Ground, tmp_path: Path
) -> None:
    """Broken by a `ledger_commit` that trusts what the caller knew of the account: charged after."""
    customer = await ground.customer()
    suspend = ("account", "suspend", customer.account)
    await _refused_from_then(ground, customer, suspend, tmp_path, status=403)


async def test_a_quota_set_below_what_is_used_refuses_new_units_and_takes_none_back(
    ground: Ground, tmp_path: Path
) -> None:
    """Broken by a `ledger_commit` that admits by another limit than the account's present one: charged on."""
    customer = await ground.customer()
    paid, unpaid = Standing(tmp_path), Standing(tmp_path)
    async with client() as via, ground.load(customer, actions=("work",)).running() as load:
        await paid.send(via, ground.urls[0], customer.secret, "hold")
        await unpaid.send(via, ground.urls[1], customer.secret, "linger")
        lower = ("account", "set-quota", customer.account, "5")
        returned, since = await _change(ground, load, *lower)
        (refused,) = await unpaid.let_go()
        await until(lambda: load.count(429, since=since) >= FURTHER_CALLS, "calls are refused")
        await _no_later_commit(ground, customer, returned)
        (delivered,) = await paid.let_go()
    check_refusals(load.calls, 200, 429, 503)
    assert load.count(200, since=since) == 0
    # What was set aside before is delivered and paid; what was not is refused; no remainder is negative.
    assert (delivered.status, refused.status) == (200, 429)
    assert {each.remaining for each in [*load.calls, refused] if each.status == 429} == {0}
    used = await ground.account_for(customer, [*load.calls, delivered, refused])
    assert used > 5
    shown = await command(ground.variables(), "usage", "show", "--account", customer.account)
    assert (shown["used"], shown["reserved"], shown["limit"]) == (used, 0, 5)
