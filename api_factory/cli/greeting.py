"""What a server says when it is ready."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import api_factory
from api_factory.cli import output
from api_factory.log import redact

if TYPE_CHECKING:
    from api_factory.settings import Settings

_PATHS = {
    "GraphQL": "/graphql",
    "schema": "/schema.graphql",
    "REST": "/api/v1/openapi.json",
    "metrics": "/metrics",
}


@dataclass(frozen=True, slots=True)
class Opening:
    """What a command adds to the addresses: facts by name, a line for stdout, and what to do next."""

    facts: Mapping[str, str] = field(default_factory=dict)
    answer: str | None = None
    next_step: str = "api-factory account create --email you@example.com, in another terminal"


@dataclass(frozen=True, slots=True)
class Greeting:
    """The words, made beforehand; `say` may be called in any thread."""

    talk: tuple[str, ...]
    answer: str | None
    next_step: str

    def say(self) -> None:
        """Print the data on stdout and the rest on stderr."""
        output.talk(*self.talk)
        if self.answer is not None:
            output.line(self.answer)
        output.next_step(self.next_step)


def compose(url: str, opening: Opening, headline: str, settings: Settings) -> Greeting:
    """Return the greeting of the server behind a url; with `--json` its data is one line of JSON."""
    head = f"API-Factory {api_factory.__version__} is ready: {headline}"
    named = {name: url + path for name, path in _PATHS.items()} | {"data": _whereabouts(settings)}
    answer = opening.answer
    if output.is_json():
        addresses = {"url": url, "graphql": f"{url}/graphql", "admin": f"{url}/admin/"}
        answer = json.dumps({**addresses, **opening.facts})
    else:  # with JSON a program reads, and a key on stderr may end in a log
        named |= opening.facts
    lines = (f"  {name:<8} {value}" for name, value in named.items())
    return Greeting((head, *lines), answer, opening.next_step)


def _whereabouts(settings: Settings) -> str:
    if settings.uses_embedded_database:
        return f"embedded PostgreSQL in {settings.embedded_directory}"
    return redact(settings.database_dsn)
