"""`api-factory schema`: the GraphQL schema as text."""

from __future__ import annotations

from importlib import import_module

import click

from api_factory.cli import output
from api_factory.cli.session import actions_option, prepared_settings


@click.command("schema")
@actions_option
@output.json_option
def schema_command(modules: tuple[str, ...]) -> None:
    """Print the GraphQL schema with the directives that are enforced. It needs no database."""
    from api_factory.actions import Catalogue
    from api_factory.cli.shadows import refuse_shadows

    settings = prepared_settings(modules)
    refuse_shadows()
    # By import string: the engine knows no face.
    text: str = import_module("schema.build").build_schema(Catalogue.load(settings.actions)).sdl
    output.show({"sdl": text}, essence=text.rstrip())
    output.next_step("api-factory serve answers it; /schema.graphql shows the same text")
