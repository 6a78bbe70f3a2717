"""`api-factory billing setup`: products, prices, meter, portal and webhook endpoint at Stripe."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from api_factory.cli import output
from api_factory.cli.session import at_engine

if TYPE_CHECKING:
    from api_factory.billing.setup import SetupReport, SetupWish
    from api_factory.wiring import Engine

WEBHOOK_PATH = "/webhooks/stripe"
_COLUMNS = ("verb", "kind", "name", "detail")


@click.command("setup")
@click.option(
    "--apply", "is_applied", is_flag=True, help="Do it; without this it only says what it would do."
)
@click.option("--webhook-url", metavar="URL", help="Where Stripe sends events; over API_FACTORY_PUBLIC_URL.")
@click.option("--return-url", metavar="URL", help="Where the portal leads back to, unless a call says so.")
@output.json_option
def setup_command(is_applied: bool, webhook_url: str | None, return_url: str | None) -> None:
    """Make or match what the plans need at Stripe; a second run changes nothing.

    The plans are those on offer: see `api-factory plan list`. The secret of a new webhook endpoint is printed
    once; set it as STRIPE_WEBHOOK_SECRET.
    """
    from api_factory.billing.setup import Setup

    async def run(engine: Engine) -> tuple[SetupReport, bool]:
        wish = await wish_of(engine, webhook_url=webhook_url, return_url=return_url)
        stripe = engine.billing.stripe
        return await Setup(stripe, wish, apply=is_applied).run(), stripe.livemode

    report, livemode = at_engine(run)
    _show(report, is_applied, livemode)
    output.next_step(_advice(report, is_applied))


async def wish_of(engine: Engine, *, webhook_url: str | None, return_url: str | None) -> SetupWish:
    """Return what to set up: what the options say, else the settings."""
    from api_factory.billing.setup import SetupWish

    settings = engine.settings
    public = None if settings.public_url is None else settings.public_url.rstrip("/") + WEBHOOK_PATH
    first = settings.billing_return_origins[0] if settings.billing_return_origins else None
    return SetupWish(
        plans=await engine.plans.list(),
        webhook_url=webhook_url or public,
        return_url=return_url or first,
    )


def _show(report: SetupReport, is_applied: bool, livemode: bool) -> None:
    steps = [asdict(step) for step in report.steps]
    mode = "live" if livemode else "test"
    if output.is_json():
        output.show_json(
            {"applied": is_applied, "mode": mode, "steps": steps, "webhook_secret": report.webhook_secret}
        )
        return
    output.show_rows(steps, _COLUMNS)
    output.talk(f"Stripe's {mode} mode; {'done' if is_applied else 'nothing was changed'}.")
    if report.webhook_secret is not None:
        output.line(f"STRIPE_WEBHOOK_SECRET={report.webhook_secret}")


def _advice(report: SetupReport, is_applied: bool) -> str:
    if not report.has_changes:
        return "api-factory billing doctor"
    if not is_applied:
        return "api-factory billing setup --apply"
    if report.webhook_secret is not None:
        return (
            "set STRIPE_WEBHOOK_SECRET as printed above, in front of an earlier one with a comma; it is not "
            "shown again. Restart the server, then `api-factory billing doctor`"
        )
    return "api-factory billing doctor"
