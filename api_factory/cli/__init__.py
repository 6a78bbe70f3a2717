"""The `api-factory` command: a face like the others, which starts them.

Data goes to stdout, talk to stderr; exit code 0 is done, 1 is refused or failed, 2 is a mistake in the
command line. Modules of commands are imported when their command runs, so that `--version` stays quick.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

import api_factory
from api_factory.cli import output

_COMMANDS = {
    "demo": ("api_factory.cli.demo", "Serve with demo data and print a key to try it with."),
    "serve": ("api_factory.cli.serving", "Serve the API."),
    "worker": ("api_factory.cli.working", "Work in the background, without a server."),
    "migrate": ("api_factory.cli.migrations", "Bring the tables of the database up to date."),
    "doctor": ("api_factory.cli.doctor", "Say what is wrong and how to mend it."),
    "new": ("api_factory.cli.packages", "Write a package of actions to start from."),
    "key": ("api_factory.cli.keys", "Issue, list and end API keys."),
    "account": ("api_factory.cli.accounts", "Create and change accounts."),
    "plan": ("api_factory.cli.plans", "List plans, or apply a file of them."),
    "usage": ("api_factory.cli.usage", "Show what was used, and check the ledger."),
    "billing": ("api_factory.cli.billing", "Keep Stripe and this server in step."),
    "notice": ("api_factory.cli.notices", "List notices by webhook and mail, and send them again."),
    "schema": ("api_factory.cli.sdl", "Print the GraphQL schema."),
}


class _Commands(click.Group):
    """The top group: imports a command when it is asked for, and turns refusals into sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(_COMMANDS[cmd_name][0]), f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            output.refuse(error)
            ctx.exit(1)


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(api_factory.__version__, prog_name="api-factory", message="%(prog)s %(version)s")
def command() -> None:
    """Turn typed Python functions into a billable API.

    Try it with `api-factory demo`; when something does not work, `api-factory doctor` says why.
    """


def main() -> None:
    """Run the command line and end this Python with its exit code."""
    sys.exit(command(prog_name="api-factory"))
