"""`api-factory new`: a package of actions to start from."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from api_factory.cli import output


@click.command("new")
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write it to.  [default: NAME]",
)
@output.json_option
def new_command(name: str, directory: Path | None) -> None:
    """Write a package called NAME with actions and their test; one command then runs it."""
    from api_factory.cli.new import create_package

    folder = Path(name) if directory is None else directory
    files = create_package(name, folder)
    output.show(
        {"directory": str(folder), "files": list(map(str, files))}, essence="\n".join(map(str, files))
    )
    output.next_step(f"cd {shlex.quote(str(folder))} && api-factory demo --actions {name}")
