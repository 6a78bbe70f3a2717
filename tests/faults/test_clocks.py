"""A worker whose own clock is minutes off: what is money, and who may come in, goes by the database's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.faults.clients import Load, call, client
from tests.faults.ground import Customer, Ground
from tests.faults.serving import HERE, Server
from tests.faults.waiting import until

OFF_SECONDS = 300
PAID_UNITS = 30


@contextlib.asynccontextmanager
async def _skewed(ground: Ground, *seconds: int) -> AsyncIterator[list[str]]:
    """Serve with wrong clocks, one process each; yield their addresses."""
    servers = [
        Server(
            ground.variables(),
            ground.directory / f"skewed{each}.log",
            [str(HERE / "skewed_server.py"), str(each)],
        )
        for each in seconds
    ]
    try:
        for server in servers:
            server.launch()
        for server in servers:
            await server.ready()
        yield [server.url for server in servers]
    finally:
        for server in servers:
            await server.stop()


async def _set_expiry(ground: Ground, customer: Customer, seconds: int) -> None:
    async with ground.connected() as connection:
        await connection.execute(
            "UPDATE api_key SET expires_at = af_now() + make_interval(secs => $2) WHERE id = $1",
            customer.key_id,
            float(seconds),
        )


async def _everywhere(urls: list[str], customer: Customer, action: str = "work") -> list[int | None]:
    async with client() as via:
        return [(await call(via, url, customer.secret, action)).status for url in urls]


async def test_a_worker_five_minutes_off_judges_keys_quotas_and_periods_as_the_others_do(
    ground: Ground,
) -> None:
    """Broken by judging expiry by the worker's clock: the fast one refused a good key.

    The keys have not been seen by any worker before they expire, for their change is made behind its back.
    """
    async with _skewed(ground, OFF_SECONDS, -OFF_SECONDS) as wrong:
        everybody = [*wrong, ground.urls[0]]
        await _expiry_is_judged_alike(ground, everybody)
        await _one_quota_and_one_period(ground, everybody)


async def _expiry_is_judged_alike(ground: Ground, urls: list[str]) -> None:
    soon, gone = await asyncio.gather(*[ground.customer()]), await asyncio.gather(*[ground.customer()])
    await _set_expiry(ground, soon[0], OFF_SECONDS // 2)
    await _set_expiry(ground, gone[0], -OFF_SECONDS // 2)
    for action in ("work", "book"):
        assert await _everywhere(urls, soon[0], action) == [200] * len(urls)
        assert await _everywhere(urls, gone[0], action) == [401] * len(urls)


async def _one_quota_and_one_period(ground: Ground, urls: list[str]) -> None:
    customer = await ground.customer(quota=PAID_UNITS)
    async with ground.connected() as connection:
        # The period turns in between the clocks of the workers: some see it over, some not begun.
        # From four years ago, whose month had the day of today, be it the 31st or February 29th.
        await connection.execute(
            "UPDATE account SET period_anchor = af_now() + interval '2 minutes' - interval '4 years'"
            " WHERE id = $1",
            customer.account_id,
        )
    load = Load(urls, customer.secret, clients=len(urls) * 2, source=ground.source)
    async with load.running():
        await until(lambda: load.count(429) > 0 and load.calls[-1].status == 429, "the quota is used up")
    assert await ground.account_for(customer, load.calls) == PAID_UNITS
    assert await ground.counters(customer) == [(PAID_UNITS, 0)]
    for url in urls:
        async with client() as via:
            refused = await call(via, url, customer.secret)
        assert (refused.status, refused.code) == (429, "QUOTA_EXCEEDED")
        assert refused.retry_after is not None
        assert int(refused.retry_after) <= 120  # until the turn by the database's clock
