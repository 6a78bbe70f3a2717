"""`api-factory demo`: a server with an account, a key and a call to try."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from api_factory.cli import output
from api_factory.cli.serving import Options, run, serve_options
from api_factory.cli.session import actor
from api_factory.cli.stand_in import StandIn
from api_factory.errors import ConfigurationError, NotFound

if TYPE_CHECKING:
    from uuid import UUID

    from api_factory.accounts import Account
    from api_factory.cli.greeting import Opening
    from api_factory.settings import Settings
    from api_factory.wiring import Engine

EMAIL = "demo@example.com"
KEY_NAME = "demo"
QUOTA_UNITS = 1_000_000

_PAGE = 100


@click.command("demo")
@serve_options
@click.pass_context
def demo_command(
    context: click.Context, host: str, port: int, workers: int, modules: tuple[str, ...]
) -> None:
    """Serve with demo data: an account, a fresh key, a call to copy, and a stand-in for Stripe.

    Not for production. With STRIPE_API_KEY set to a test key it speaks to Stripe itself.
    """
    stripe = StandIn()

    async def prepare(engine: Engine, url: str) -> Opening:
        await asyncio.to_thread(stripe.send_events_to, url)
        return await _prepare(engine, url, stripe)

    options = Options(host, port, workers, modules)
    context.exit(run(options, prepare, check=_refuse_production, companion=stripe))


def _refuse_production(settings: Settings) -> None:
    if settings.is_production:
        raise ConfigurationError(
            "The demo prints a key that works, so it does not run in production; use `api-factory serve`, "
            "or set API_FACTORY_ENV=development."
        )


async def _prepare(engine: Engine, url: str, stripe: StandIn) -> Opening:
    from api_factory.cli.curl import callable_with, curl_line
    from api_factory.cli.greeting import Opening
    from api_factory.keys import NewKey

    account = await _demo_account(engine)
    if stripe.url is not None:
        await _stock_up(engine)
    await _revoke_earlier_keys(engine, account.id)
    scopes = tuple(sorted(engine.catalogue.scopes))  # so that every action can be tried
    issued = await engine.keys.create(account.id, NewKey(name=KEY_NAME, scopes=scopes), by=actor())
    line = curl_line(url, issued.secret, callable_with(issued.key, engine.catalogue))
    facts = {"key": issued.secret, "account": account.public_id}
    return Opening(
        facts if stripe.url is None else facts | {"stripe": stripe.url},
        answer=line,
        next_step=f"{_how_to_try()}; Ctrl-C here ends the server",
    )


def _how_to_try() -> str:
    if output.is_json():
        return "call the address `graphql` with the `key` as Bearer token"
    return "copy the line above into another terminal"


async def _stock_up(engine: Engine) -> None:
    """Have the stand-in sell the plans."""
    from api_factory.billing.setup import Setup, SetupWish

    wish = SetupWish(plans=await engine.plans.list(), webhook_url=None, return_url=None)
    await Setup(engine.billing.stripe, wish, apply=True).run()


async def _demo_account(engine: Engine) -> Account:
    try:
        return await engine.accounts.find(EMAIL)
    except NotFound:
        return await engine.accounts.create(EMAIL, name="Demo", quota_units=QUOTA_UNITS, by=actor())


async def _revoke_earlier_keys(engine: Engine, account_id: UUID) -> None:
    from api_factory.keys import KeyStatus

    while True:
        page = await engine.keys.list(account_id=account_id, status=KeyStatus.ACTIVE, first=_PAGE)
        earlier = [key for key in page.keys if key.name == KEY_NAME]
        if not earlier:
            return
        for key in earlier:
            await engine.keys.revoke(key.id, by=actor(), reason="A later demo has its own key.")
