"""What a charge costs: `python -m bench.ledger`.

Beside every figure stands its yardstick: a bare one-row INSERT committed on a connection of the same
server in the same round, so that a slow disk or a busy machine shows in both. Rounds are interleaved and
the median is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

import asyncpg

from api_factory.db import Database
from api_factory.ids import uuid7
from api_factory.usage import Ledger, Line, Payer, RegisteredWorker
from bench.scratch import scratch_database

KEYS = 64


@dataclass(frozen=True, slots=True)
class Case:
    """How many tasks charge how many keys (one key an account) at once, through how many committers."""

    name: str
    tasks: int
    keys: int
    committers: int = 1


@dataclass(frozen=True, slots=True)
class Round:
    """One case once: microseconds of wall clock a charge, charges a batch, microseconds a batch."""

    charge_us: float
    batch: float
    commit_us: float
    yardstick_us: float


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over the rounds of one case; `ratio` is the batch's commit over the bare commit."""

    case: str
    charge_us: float
    charges_per_second: float
    batch: float
    commit_us: float
    bare_commit_us: float
    ratio: float


CASES = (
    Case("1 task, 64 accounts", 1, KEYS),
    Case("32 tasks, 64 accounts", 32, KEYS),
    Case("32 tasks, 1 hot account", 32, 1),
    Case("128 tasks, 64 accounts", 128, KEYS),
    Case("128 tasks, 1 hot account", 128, 1),
    Case("4 x 64 tasks, 64 accounts", 256, KEYS, 4),
    Case("4 x 64 tasks, 1 hot account", 256, 1, 4),
)


async def payers(db: Database, count: int) -> list[Payer]:
    """Make accounts of one key each on a plan that does not run out; return who pays."""
    await db.execute(
        "INSERT INTO plan (slug, name, quota_units, test_quota_units, overage, description, price_cents,"
        " currency, billing_interval, rate, key_limit, sort_order, epoch)"
        " VALUES ('bench', 'Bench', 1000000000000, 1, 'hard', '', 0, 'usd', 'month', '', 1, 0, 0)"
        " ON CONFLICT DO NOTHING"
    )
    made = [Payer(uuid7(), uuid7(), True, 0, 0) for _ in range(count)]
    await db.execute(
        "INSERT INTO account (id, email, name, plan, status, period_anchor, created_at, epoch)"
        " SELECT id, id || '@example.test', '', 'bench', 'ACTIVE', af_now(), af_now(), 0"
        " FROM unnest($1::uuid[]) AS id",
        [payer.account_id for payer in made],
    )
    await db.execute(
        "INSERT INTO api_key"
        " (id, account, name, livemode, status, scopes, cidrs, metadata, created_at, epoch)"
        " SELECT t.id, t.account, 'k', true, 'ACTIVE', '{}', '{}', '{}', af_now(), 0"
        " FROM unnest($1::uuid[], $2::uuid[]) AS t (id, account)",
        [payer.key_id for payer in made],
        [payer.account_id for payer in made],
    )
    return made


async def open_periods(db: Database) -> None:
    """Make every account's counter, as its first charge of the month would."""
    await db.execute(
        "INSERT INTO quota (account_id, key_id, livemode, period_start, period_end, hard_limit)"
        " SELECT account.id, '00000000-0000-0000-0000-000000000000', true, period.starts, period.ends, 0"
        " FROM account CROSS JOIN LATERAL af_period(account.period_anchor, af_now()) AS period"
    )


async def timed(count: int, tasks: int, work: Callable[[int], Awaitable[object]]) -> float:
    """Do the work `count` times from so many tasks; return microseconds of wall clock a time."""
    numbers = iter(range(count))

    async def run() -> None:
        for number in numbers:
            await work(number)

    started = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(tasks)))
    return (time.perf_counter() - started) / count * 1e6


async def measure(
    ledgers: Sequence[Ledger],
    observed: list[tuple[float, int]],
    case: Case,
    who: Sequence[Payer],
    charges: int,
) -> tuple[float, float, float]:
    """Charge once round; return microseconds a charge, charges a batch, microseconds a batch."""
    lines = [Line("echo", 1)]
    stride = len(who) // case.keys
    observed.clear()

    async def charge(number: int) -> None:
        payer = who[number % case.keys * stride]
        await ledgers[number % case.committers].charge(payer, lines, "bench")

    charge_us = await timed(charges, case.tasks, charge)
    batch = sum(size for _, size in observed) / len(observed)
    return charge_us, batch, statistics.median(seconds for seconds, _ in observed) * 1e6


async def bare_commit(connection: asyncpg.Connection, commits: int) -> float:
    """Commit a one-row INSERT again and again; return microseconds a commit."""
    statement = await connection.prepare("INSERT INTO bench_yardstick VALUES ($1, $2)")
    return await timed(commits, 1, lambda number: statement.fetch(number, "a row of the yardstick"))


async def run(rounds: int, charges: int, accounts: int) -> list[Result]:
    """Measure every case in interleaved rounds; return the medians."""
    seen: dict[Case, list[Round]] = {case: [] for case in CASES}
    observed: list[tuple[float, int]] = []
    async with scratch_database() as db:
        await db.execute("CREATE TABLE bench_yardstick (n bigint, text text)")
        who = await payers(db, accounts)
        await open_periods(db)
        worker = RegisteredWorker(db)
        await worker.register()

        def observe(seconds: float, size: int) -> None:
            observed.append((seconds, size))

        ledgers = [Ledger(db.connect, worker, observe=observe) for _ in range(4)]
        for ledger in ledgers:
            await ledger.open()
            for payer in who[:16]:  # connected and planned before the clock runs
                await ledger.charge(payer, [Line("echo", 1)], "warm")
        connection = await db.connect()
        for _ in range(rounds):
            for case in CASES:
                yardstick = await bare_commit(connection, 100)
                count = charges if case.tasks > 1 else charges // 5
                seen[case].append(Round(*await measure(ledgers, observed, case, who, count), yardstick))
        await connection.close()
        for ledger in ledgers:
            await ledger.close()
    return [_result(case, seen[case]) for case in CASES]


def _result(case: Case, rounds: Sequence[Round]) -> Result:
    charge_us = statistics.median(each.charge_us for each in rounds)
    commit_us = statistics.median(each.commit_us for each in rounds)
    bare_us = statistics.median(each.yardstick_us for each in rounds)
    return Result(
        case=case.name,
        charge_us=round(charge_us, 1),
        charges_per_second=round(1e6 / charge_us),
        batch=round(statistics.median(each.batch for each in rounds), 1),
        commit_us=round(commit_us),
        bare_commit_us=round(bare_us),
        ratio=round(statistics.median(each.commit_us / each.yardstick_us for each in rounds), 2),
    )


def main() -> None:
    """Run and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--charges", type=int, default=2_000, help="a round and case; a fifth for one task")
    parser.add_argument("--accounts", type=int, default=KEYS, help="in the tables; 64 of them are charged")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = asyncio.run(run(options.rounds, options.charges, options.accounts))
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
        return
    print(
        f"{'case':28}{'us/charge':>10}{'charges/s':>10}{'batch':>7}{'us/commit':>10}{'bare':>7}{'ratio':>7}"
    )
    for each in results:
        print(
            f"{each.case:28}{each.charge_us:10.1f}{each.charges_per_second:10}{each.batch:7.1f}"
            f"{each.commit_us:10}{each.bare_commit_us:7}{each.ratio:7.2f}"
        )


if __name__ == "__main__":
    main()
