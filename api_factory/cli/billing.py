"""`api-factory billing`: the group of the commands about Stripe."""

from __future__ import annotations

import click

from api_factory.cli.billing_doctor import doctor_command
from api_factory.cli.billing_events import reconcile_command, replay_command
from api_factory.cli.billing_meters import meters_command
from api_factory.cli.billing_setup import setup_command


@click.group("billing")
def billing_command() -> None:
    """Keep Stripe and this server in step."""


for _command in (setup_command, doctor_command, reconcile_command, replay_command, meters_command):
    billing_command.add_command(_command)
