"""What limits in Redis cost: admissions through the guard, counted in memory and in each store, in one run.

`python -m bench.limits_backends [--seconds 2] [--rounds 3] [--tasks 32] [--redis redis://127.0.0.1:6379]`

The action is free, so that nothing but the guard and the limits is measured: no HTTP, no ledger. An account
limit and a limit of the action give every call three windows. A Valkey on a Unix socket is started beside it;
the Redis named is measured as well when it answers. Rounds alternate between the backends, and medians are
shown.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from api_factory.actions import Catalogue, action, define
from api_factory.audit import Actor
from api_factory.credentials import Credentials
from api_factory.embedded import EmbeddedValkey
from api_factory.guard import Ask
from api_factory.ids import uuid7
from api_factory.keys import NewKey
from api_factory.limits import (
    FailoverLimits,
    Limits,
    RedisBackend,
    StoreUnavailable,
    WindowStorage,
    open_wire,
)
from api_factory.settings import Settings
from api_factory.wiring import Engine, build_engine
from bench.scratch import scratch_url

BY = Actor("cli", "bench")


@action(charge="free", rate="1000000000/minute")
async def nothing() -> str:
    """Cost nothing and do nothing."""
    return ""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=32, help="callers at a time")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="af-") as made, ExitStack() as stack:
        valkey = stack.enter_context(EmbeddedValkey(Path(made) / "valkey"))
        asyncio.run(
            _measure(options, {"valkey, unix socket": valkey.url, "redis": options.redis}, Path(made))
        )


async def _measure(options: argparse.Namespace, stores: Mapping[str, str], directory: Path) -> None:
    async with scratch_url() as url:
        settings = Settings(DATABASE_URL=url, data_dir=directory)  # type: ignore[call-arg]
        engine = build_engine(settings, catalogue=Catalogue([define(nothing)]))
        await engine.open()
        await _measure_on(engine, options, stores)


async def _measure_on(engine: Engine, options: argparse.Namespace, stores: Mapping[str, str]) -> None:
    backends: dict[str, Limits] = {"memory": Limits(WindowStorage())}
    for name, url in stores.items():
        store = RedisBackend(open_wire(url))
        try:
            await store.generation()
        except StoreUnavailable:
            print(f"{name}: {url} does not answer")
            await store.close()
        else:
            backends[name] = FailoverLimits(store)
    try:
        _print(await _rounds(engine, backends, options), options)
    finally:
        for limits in backends.values():
            await limits.close()
        await engine.close()


async def _rounds(
    engine: Engine, backends: Mapping[str, Limits], options: argparse.Namespace
) -> dict[str, list[tuple[float, float]]]:
    account = await engine.accounts.create(
        f"bench-{uuid7().hex}@example.test", rate="1000000000/second;1000000000/hour", by=BY
    )
    issued = await engine.keys.create(account.id, NewKey(name="bench", scopes=("RUN_ACTIONS",)), by=BY)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in backends}
    for _ in range(options.rounds):
        for name, limits in backends.items():
            engine.guard._limits = limits
            measured[name].append(await _round(engine, issued.secret, options))
    return measured


async def _round(engine: Engine, secret: str, options: argparse.Namespace) -> tuple[float, float]:
    """Return calls a second, and the microseconds of this process's CPU that a call took."""
    found = engine.catalogue.get("nothing")
    ask = Ask(calls=(found,) if found else ())
    credentials = Credentials(secret, "192.0.2.1")
    end, count = time.perf_counter() + options.seconds, 0

    async def call_on() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await engine.guard.admit(credentials, ask, "bench")
            count += 1
            # As between two requests of a connection: the other callers get their turn.
            await asyncio.sleep(0)

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call_on() for _ in range(options.tasks)))
    seconds = time.perf_counter() - started
    return count / seconds, (time.process_time() - cpu) / count * 1e6


def _print(measured: Mapping[str, list[tuple[float, float]]], options: argparse.Namespace) -> None:
    medians = {
        name: (statistics.median(rate for rate, _ in rounds), statistics.median(cpu for _, cpu in rounds))
        for name, rounds in measured.items()
    }
    base_rate, base_cpu = medians["memory"]
    print(f"{options.tasks} callers, {options.rounds} rounds of {options.seconds:g} s, 3 windows a call")
    print(f"{'limits in':<22}{'calls/s':>10}{'of memory':>11}{'CPU us/call':>13}{'more us':>9}")
    for name, (rate, cpu) in medians.items():
        print(f"{name:<22}{rate:>10,.0f}{rate / base_rate:>11.2f}{cpu:>13.1f}{cpu - base_cpu:>9.1f}")


if __name__ == "__main__":
    main()
