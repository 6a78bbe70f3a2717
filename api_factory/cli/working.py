"""`api-factory worker`: what runs in the background, without a server in front of it."""

from __future__ import annotations

import asyncio
import os

import click

from api_factory.cli import output
from api_factory.cli.session import prepared_settings
from api_factory.cli.stopping import Stop
from api_factory.settings import Settings


@click.command("worker")
@output.json_option
def worker_command() -> None:
    """Work in the background until SIGINT or SIGTERM: events of Stripe, dunning, notices, verification.

    `serve` does all of this too. Any number of both may run on one database; each piece of work is done once.
    """
    from api_factory import wiring

    stop = Stop()
    settings = prepared_settings()
    try:
        with wiring.embedded_database(settings):
            asyncio.run(_work(settings, stop))
    except KeyboardInterrupt:  # stopped while it started
        return


async def _work(settings: Settings, stop: Stop) -> None:
    from api_factory.actions import Catalogue
    from api_factory.wiring import build_engine

    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    engine = build_engine(settings, catalogue=Catalogue(()))
    await engine.open()
    try:
        stop.on_ask(lambda: _wake(loop, asked))
        works = engine.billing.stripe.is_configured
        output.show(
            {"pid": os.getpid(), "database": "answers", "stripe": "works" if works else "not configured"}
        )
        output.next_step("Ctrl-C ends it; what is under way goes back to whoever works on")
        await asked.wait()
    finally:
        await engine.close()


def _wake(loop: asyncio.AbstractEventLoop, asked: asyncio.Event) -> None:
    """Set the event from a signal's handler."""
    loop.call_soon_threadsafe(asked.set)
