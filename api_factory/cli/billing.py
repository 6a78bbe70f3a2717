"""`api-factory billing`: the group of the commands about Stripe."""

from __future__ import annotations

import click

from api_factory.cli.billing_events import reconcile_command, replay_command


@click.group("billing")
def billing_command() -> None:
    """Keep Stripe and this server in step."""


billing_command.add_command(reconcile_command)
billing_command.add_command(replay_command)
