"""What the reference says, read from the code: settings, commands, errors, metrics, routes, the schema."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from graphql import GraphQLObjectType, GraphQLScalarType, is_specified_scalar_type
from prometheus_client.parser import text_string_to_metric_families
from pydantic_core import PydanticUndefined
from starlette.routing import Route

from api import app as http
from api.problems import ACTION_FAILED_STATUS
from api_factory.actions import BUILT_IN_SCOPES, DEFAULT_SCOPES, Catalogue
from api_factory.cli import command
from api_factory.errors import ApiFactoryError, ConfigurationError
from api_factory.metrics import DatabaseGauges, Metrics
from api_factory.settings import Settings, load_settings
from api_factory.wiring import build_engine
from checks import introductions
from schema import limits
from schema.build import GuardedSchema, build_schema
from schema.directives import Policy
from schema.sdl import signatures_of

NOTE = "<!-- Written by checks/reference.py from the code; do not edit. -->"
_PREFIX = "API_FACTORY_"
_ALL_COMMANDS = "api-factory"


def pages() -> dict[str, str]:
    """Return every page of the reference by its file name."""
    schema = built_in_schema()
    return {
        "cli.md": _page("Commands", introductions.CLI, *commands()),
        "errors.md": _page(
            "Error codes", introductions.ERRORS, table(("Code", "Status", "Class", "Sentence"), errors())
        ),
        "graphql.md": _page("GraphQL", *graphql(schema)),
        "metrics.md": _page(
            "Metrics", introductions.METRICS, table(("Name", "Type", "Labels", "Meaning"), metrics())
        ),
        "rest.md": _page("HTTP", introductions.REST, table(("Method", "Path", "What"), routes(schema))),
        "schema.graphql": schema.sdl,
        "settings.md": _page(
            "Settings", introductions.SETTINGS, table(("Name", "Type", "Default", "Meaning"), settings())
        ),
    }


def built_in_schema() -> GuardedSchema:
    """Return the schema that a server without an author's actions has."""
    return build_schema(_built_in())


def settings() -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each setting: the environment variable, its type, default and meaning."""
    for name, field in Settings.model_fields.items():
        variable = (
            field.validation_alias if isinstance(field.validation_alias, str) else _PREFIX + name.upper()
        )
        default = field.default
        if default is PydanticUndefined or default in (None, ()):
            shown = "unset"
        else:
            shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
        yield f"`{variable}`", _type_name(field.annotation), shown, field.description or ""


def commands(
    found: click.Command = command, path: str = _ALL_COMMANDS, parent: click.Context | None = None
) -> Iterator[str]:
    """Yield the sections of a command and of all those below it."""
    context = click.Context(found, parent, info_name=path.rpartition(" ")[2] if parent else path)
    usage = found.collect_usage_pieces(context)
    yield f"## {path}\n\n{_prose(found.help or '')}\n\n```text\n{' '.join([path, *usage])}\n```"
    rows = [row for each in found.get_params(context) if (row := _parameter(each)) is not None]
    if rows:
        yield table(("Option", "Default", "Meaning"), rows)
    if isinstance(found, click.Group):
        for name in found.list_commands(context):
            child = found.get_command(context, name)
            if child is not None:
                yield from commands(child, f"{path} {name}", context)


def errors() -> list[tuple[str, str, str, str]]:
    """Return a row for each refusal: code, HTTP status, class and sentence."""
    expected = "The action refused; its message says why, and it may have a code of its own."
    rows = {("ACTION_FAILED", ACTION_FAILED_STATUS, "ActionError", expected)}
    remaining: list[type[ApiFactoryError]] = ApiFactoryError.__subclasses__()
    while remaining:
        kind = remaining.pop()
        remaining += kind.__subclasses__()
        if kind.__module__.startswith("api_factory."):
            sentence = (kind.__doc__ or "").split("\n\n")[0]
            if issubclass(kind, ConfigurationError):
                sentence += " It stops the start and never reaches a client."
            rows.add((kind.code, kind.status, kind.__name__, " ".join(sentence.split())))
    return [
        (f"`{code}`", str(status), f"`{name}`", sentence) for code, status, name, sentence in sorted(rows)
    ]


def metrics() -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each metric. `RuntimeError` for one not recorded here: its labels are unknown."""
    for family in text_string_to_metric_families(_one_of_each()):
        if not family.samples:
            raise RuntimeError(f"Record {family.name} in checks/pages.py, so that its labels are known.")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation


def routes(schema: GuardedSchema) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each address that is served."""
    yield "GET, POST", "`/graphql`", "Execute an operation; for a browser in development: GraphiQL."
    with tempfile.TemporaryDirectory() as folder:
        unconnected = load_settings(
            _env_file=None, database_url="postgresql://nowhere", key_pepper="p" * 32, data_dir=Path(folder)
        )
        engine = build_engine(unconnected, catalogue=_built_in())
    for route in http._routes(engine, schema.sdl):
        if isinstance(route, Route):
            methods = sorted((route.methods or set()) - {"HEAD"})
            yield ", ".join(methods), f"`{route.path}`", _first_sentence(route.endpoint.__doc__ or "")


def graphql(schema: GuardedSchema) -> Iterator[str]:
    """Yield the sections on directives, root fields, scalars, scopes and the limits of documents."""
    core = schema.core
    yield introductions.GRAPHQL
    yield "## Directives\n\n" + table(
        ("Directive", "Where", "Meaning"),
        (
            (
                f"`@{each.name}{_arguments(each.args)}`",
                ", ".join(place.name for place in each.locations),
                each.description or "",
            )
            for each in sorted(core.directives, key=lambda each: each.name)
            if each.name in {"cost", "listSize", "public", "rateLimit", "requiresKey"}
        ),
    )
    for title, root in (("Queries", core.query_type), ("Mutations", core.mutation_type)):
        if root is not None:
            yield f"## {title}\n\n" + table(("Field", "Needs", "Units", "Meaning"), _fields(schema, root))
    yield _scopes()
    scalars = [each for each in core.type_map.values() if isinstance(each, GraphQLScalarType)]
    own = [each for each in scalars if not is_specified_scalar_type(each)]
    yield "## Scalars\n\n" + table(
        ("Scalar", "Form"), ((f"`{each.name}`", _first_sentence(each.description or "")) for each in own)
    )
    yield "## Limits of a document\n\n" + table(("Limit", "Most"), _document_limits())


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _page(title: str, *sections: str) -> str:
    return "\n\n".join([f"# {title}", NOTE, *sections]) + "\n"


def _built_in() -> Catalogue:
    return Catalogue.load((), entry_points=False)


def _type_name(annotation: Any) -> str:
    words = annotation.__name__ if type(annotation) is type else str(annotation)
    if options := re.findall(r"'(\w+)'", words):
        return ", ".join(f"`{option}`" for option in options)
    kinds = ("tuple", "list"), ("Secret", "secret"), ("Path", "path"), ("int", "number"), ("float", "number")
    return next((name for kind, name in (*kinds, ("bool", "boolean")) if kind in words), "text")


def _parameter(parameter: click.Parameter) -> tuple[str, str, str] | None:
    if isinstance(parameter, click.Argument) or "--help" in parameter.opts:
        return None
    record = parameter.get_help_record(click.Context(click.Command("any")))
    if record is None:
        return None
    default = parameter.default if isinstance(parameter, click.Option) and parameter.show_default else None
    meaning = re.sub(
        r"\s*\[(?:default: [^\]]*|required|[^\]]*x[<>]=?[^\]]*|[^\]]*<=x[^\]]*)\]\s*$", "", record[1]
    )
    required = " Required." if parameter.required else ""
    return (
        f"`{record[0].replace(' RANGE', '')}`",
        "" if default is None else f"`{default}`",
        meaning + required,
    )


def _one_of_each() -> str:
    recorded = Metrics(actions=["echo"], version="0")
    recorded.request("rest", "OK", 0.0)
    recorded.action_call("echo", "ok", 0.0)
    recorded.units_charged("echo", 1)
    recorded.rate_limited("minute")
    recorded.quota_refused()
    recorded.ledger_commit(0.0, 1)
    recorded.limits_alone(True)
    recorded.idempotent_replay()
    recorded.stripe_event("invoice.paid", "done")
    recorded.outbox_attempt("meter", "sent")
    gauges = DatabaseGauges({}, {}, 0, 0, reconcile_differences=0, outboxes={"meters": (0, 0, 0.0)})
    body, _ = recorded.render(gauges)
    return body.decode()


def _fields(schema: GuardedSchema, root: GraphQLObjectType) -> Iterator[tuple[str, str, str, str]]:
    signatures = signatures_of(schema.sdl)
    for name, field in root.fields.items():
        policy = schema.rules.policies[root.name][name]
        signature = signatures[name].partition(" @")[0]
        yield f"`{signature}`", _needs(policy), str(policy.weight), _first_sentence(field.description or "")


def _arguments(arguments: Mapping[str, Any]) -> str:
    written = ", ".join(f"{name}: {each.type}" for name, each in arguments.items())
    return f"({written})" if written else ""


def _needs(policy: Policy) -> str:
    if policy.scopes is None:
        return "nothing"
    return (
        "a key with " + ", ".join(f"`{scope}`" for scope in sorted(policy.scopes))
        if policy.scopes
        else "a key"
    )


def _scopes() -> str:
    meanings = {
        "RUN_ACTIONS": "Call actions that name no scope of their own.",
        "READ_USAGE": "Read `usage`.",
        "MANAGE_KEYS": "List, issue and change the keys of the account.",
        "MANAGE_BILLING": "Open Checkout and the customer portal for the account.",
    }
    rows = ((f"`{one}`", "yes" if one in DEFAULT_SCOPES else "no", meanings[one]) for one in BUILT_IN_SCOPES)
    intro = "An action may add a scope of its own; the enum `Scope` is made when the server starts."
    return f"## Scopes\n\n{intro}\n\n" + table(("Scope", "In a new key unless named", "Allows"), rows)


def _document_limits() -> Iterator[tuple[str, str]]:
    for name, most in vars(limits).items():
        if name.startswith("MAX_") and name != "MAX_ERRORS":
            yield name.removeprefix("MAX_").replace("_", " ").capitalize(), f"{most:,}"


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def _prose(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
