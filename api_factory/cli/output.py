"""What the commands say: data on stdout, as a table or as one line of JSON; talk on stderr."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from api_factory.errors import ApiFactoryError
from api_factory.printable import escaped

_JSON = "api_factory.json"
_UNEXPECTED = (
    "Something went wrong here, and nothing is known to mend it; the log line above has the details."
)

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def json_option(function: Decorated) -> Decorated:
    """Give a command `--json`; ask `is_json()` whether it was set."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_remember,
        help="Print one line of JSON on stdout.",
    )(function)


def is_json() -> bool:
    """Tell whether the running command was given `--json`."""
    return bool(click.get_current_context().meta.get(_JSON, False))


def show(record: Mapping[str, object], *, essence: str | None = None) -> None:
    """Print one thing: JSON, or `essence` when given, or a line a field."""
    if is_json():
        show_json(record)
    elif essence is not None:
        click.echo(safe(essence))
    else:
        width = max(map(len, record))
        for name, value in record.items():
            click.echo(f"{name.replace('_', ' '):<{width}}  {escaped(_readable(value))}")


def show_rows(records: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print a list: a JSON array of whole records, or a table of the columns."""
    if is_json():
        show_json(list(records))
        return
    cells = [[escaped(_readable(record[column])) for column in columns] for record in records]
    heading = [column.replace("_", " ").upper() for column in columns]
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    for row in (heading, *cells) if cells else ():
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_json(value: object) -> None:
    """Print a value as one line of JSON, at once."""
    click.echo(escaped(json.dumps(value, default=_jsonable, ensure_ascii=False)))


def line(text: str) -> None:
    """Print one line of data as it is, at once; what others wrote has to be `safe` in it."""
    click.echo(text)


def talk(*lines: str) -> None:
    """Say something to the person at the terminal; it is no data."""
    for line in lines:
        click.echo(safe(line), err=True)


def safe(text: str) -> str:
    """Return text of several lines with nothing in it that steers a terminal."""
    return "\n".join(map(escaped, text.split("\n")))


def next_step(sentence: str) -> None:
    """Say what comes next."""
    talk(f"Next: {sentence}")


def refuse(error: Exception) -> None:
    """Say why a command failed: the sentence of a refusal, a log entry for what nobody expected."""
    code, sentence = explain(error)
    if is_json():
        refusal = json.dumps({"error": {"code": code, "message": sentence}}, ensure_ascii=False)
        click.echo(escaped(refusal), err=True)
    else:
        click.secho(f"Error: {safe(sentence)}", fg="red", err=True)


def explain(error: Exception) -> tuple[str, str]:
    """Return the code and the sentence of an error; log what is no refusal, with its trace."""
    from api_factory.embedded import EmbeddedPostgresFailed

    if isinstance(error, ApiFactoryError):
        return error.code, error.message
    if isinstance(error, EmbeddedPostgresFailed):
        return "UNAVAILABLE", str(error)
    logging.getLogger(__name__).error("unexpected error", exc_info=error)
    return "INTERNAL", _UNEXPECTED


def _remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.meta[_JSON] = True


def _readable(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, Mapping):
        return json.dumps(value, default=_jsonable, ensure_ascii=False)
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_readable, value)) or "-"
    return str(value) or "-"


def _jsonable(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)
