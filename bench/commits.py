"""The yardstick of the durable commit: a one-row INSERT, committed again and again on one connection."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Final

import asyncpg

from bench.cores import pinned
from bench.figures import Sample
from bench.ground import Ground
from bench.scratch import execute

NAME: Final = "bare-commit"
TITLE: Final = "PostgreSQL: one row inserted and committed"

_TABLE: Final = "CREATE TABLE IF NOT EXISTS bench_yardstick (number bigint, text text)"
_INSERT: Final = "INSERT INTO bench_yardstick VALUES ($1, $2)"


class BareCommits:
    """One connection from the server's cores, as that of a server's ledger is."""

    def __init__(self, ground: Ground) -> None:
        """Make the table that is written to."""
        self._cores = ground.cores.server
        self._url = ground.usage_url
        asyncio.run(execute(self._url, _TABLE))

    def sample(self, seconds: float) -> Sample:
        """Commit for so long; latencies are those of a commit."""
        with pinned(self._cores):
            took = asyncio.run(self._commit_for(seconds))
        took_us = sorted(each * 1e6 for each in took)
        return Sample(
            requests_per_second=len(took) / sum(took),
            p50_us=statistics.median(took_us),
            p99_us=took_us[int(len(took_us) * 0.99)],
            cpu_us=0.0,
            core_share=0.0,
            foreign_share=0.0,
            stolen_share=0.0,
            requests=len(took),
        )

    async def _commit_for(self, seconds: float) -> list[float]:
        took: list[float] = []
        connection = await asyncpg.connect(self._url)
        try:
            statement = await connection.prepare(_INSERT)
            end = time.perf_counter() + seconds
            while (started := time.perf_counter()) < end:
                await statement.fetch(len(took), "a row of the yardstick")
                took.append(time.perf_counter() - started)
        finally:
            await connection.close()
        return took
