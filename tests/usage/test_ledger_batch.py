"""What holds inside one batch of the ledger, and what it costs the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from api_factory.errors import Unavailable
from api_factory.ids import uuid7
from api_factory.usage import Line, Payer
from api_factory.usage.ledger import _COMMIT

if TYPE_CHECKING:
    from tests.usage.conftest import Ground


async def test_two_settlements_of_one_reservation_in_one_batch_charge_once(ground: Ground) -> None:
    """Fails when what the batch itself has closed still counts as open: 8 units for a call of 4."""
    account = await ground.account(20)
    payer = await ground.payer(account, cap_units=20)
    first, second = await ground.ledger.reserve(payer, 4, "r1"), await ground.ledger.reserve(payer, 5, "r2")
    outcomes = await asyncio.gather(
        ground.ledger.settle(first, payer, [Line("echo", 4)]),
        ground.ledger.settle(first, payer, [Line("echo", 4)]),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["QuotaStanding", "Unavailable"]
    assert await ground.used(account) == (4, 5)
    released, late = await asyncio.gather(
        ground.ledger.release(second, payer),
        ground.ledger.settle(second, payer, [Line("echo", 5)]),
        return_exceptions=True,
    )
    assert released is None
    assert isinstance(late, Unavailable)
    assert await ground.used(account) == (4, 0)
    assert await ground.drift() == 0


async def test_each_answer_of_a_batch_is_the_standing_after_its_own_item(ground: Ground) -> None:
    payer = await ground.payer(await ground.account(10))
    standings = await asyncio.gather(
        *(ground.ledger.charge(payer, [Line("echo", units)], "r") for units in (1, 2, 3))
    )
    assert [standing.used for standing in standings] == [1, 3, 6]


@pytest.mark.parametrize("cap_units", [None, 1_000])
async def test_a_commit_scans_no_table_even_when_it_was_planned_while_they_were_empty(
    ground: Ground, cap_units: int | None
) -> None:
    """Fails without the settings of `ledger_commit`: its cached plan would read every counter there is."""
    payer = await ground.payer(await ground.account(None), cap_units=cap_units)
    connection = await ground.db.connect()
    try:
        statement = await connection.prepare(_COMMIT)
        for _ in range(8):
            await statement.fetch(*_charge(payer))
        # The tables grow, and no ANALYZE tells the planner.
        await ground.db.execute(
            "INSERT INTO quota (account_id, key_id, livemode, period_start, period_end) SELECT"
            " gen_random_uuid(), '00000000-0000-0000-0000-000000000000', true, now(), now()"
            " FROM generate_series(1, 3000)"
        )
        await connection.execute("BEGIN")
        rows = await statement.fetch(*_charge(payer))
        scanned = await connection.fetch(
            "SELECT relname FROM pg_stat_xact_user_tables"
            " WHERE relname IN ('quota', 'account', 'api_key', 'plan', 'reservation')"
            " AND (seq_scan > 0 OR idx_tup_fetch > 1000)"
        )
        await connection.execute("ROLLBACK")
    finally:
        await connection.close()
    assert [row["verdict"] for row in rows] == ["ok", "ok"]
    assert [row["relname"] for row in scanned] == []


def _charge(payer: Payer) -> tuple[object, ...]:
    """Arguments of a batch of two charges of one unit."""
    return (
        *(["c", "c"], [uuid7(), uuid7()], [payer.account_id] * 2, [payer.key_id] * 2, [True, True]),
        *([0, 0], [0, 0], [None, None], [1, 1], ["r1", "r2"], uuid7()),
        *([1, 2], ["echo", "echo"], [1, 1], [0, 0]),
    )
