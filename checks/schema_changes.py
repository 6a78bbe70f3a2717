"""No change of the schema breaks a client unawares: what the code builds against what was last released.

A breaking change fails unless `checks/released/accepted.toml` has it with its reason; one that may surprise a
client is only reported. Besides what GraphQL calls breaking, so is a root field that asks for a key or for a
scope which it did not ask for before. ``--release`` makes the schema of the code the released one.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from graphql import FieldDefinitionNode, GraphQLSchema, ListValueNode, build_schema, print_ast
from graphql.utilities import BreakingChange, DangerousChange, find_schema_changes

from checks.pages import built_in_schema

RELEASED: Final = Path(__file__).parent / "released"
SCHEMA: Final = "schema.graphql"
ACCEPTED: Final = "accepted.toml"


@dataclass(frozen=True, slots=True)
class Change:
    """One change, in words that stay the same; `is_breaking` tells whether calls that worked may fail."""

    what: str
    is_breaking: bool


def changes(released: str, built: str) -> Iterator[Change]:
    """Yield the changes between two schemas, as SDL, that a client may notice unasked."""
    old, new = build_schema(released), build_schema(built)
    for change in find_schema_changes(old, new):
        if isinstance(change, BreakingChange | DangerousChange):
            is_breaking = isinstance(change, BreakingChange)
            yield Change(f"{change.type.name}: {change.description}", is_breaking)
    before, after = _terms(old), _terms(new)
    for name in before.keys() & after.keys():
        yield from _changes_of_terms(name, before[name], after[name])


def complaints(found: list[Change], accepted: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each breaking change nobody accepted, and for each acceptance of no change."""
    breaking = {change.what for change in found if change.is_breaking}
    for what in sorted(breaking - accepted.keys()):
        yield f"breaks clients: {what}"
    for what in sorted(accepted.keys() - breaking):
        yield f"is accepted in {ACCEPTED} and no change of the schema: {what}"
    for what in sorted(what for what, reason in accepted.items() if not reason.strip()):
        yield f"is accepted in {ACCEPTED} without a reason: {what}"


def read_accepted(folder: Path = RELEASED) -> dict[str, str]:
    """Return the changes that were agreed to, with their reasons."""
    entries = tomllib.loads((folder / ACCEPTED).read_text()).get("accepted", [])
    return {entry["change"]: entry.get("reason", "") for entry in entries}


def release(built: str, folder: Path = RELEASED) -> None:
    """Make a schema the released one; what was accepted on the way to it is done."""
    (folder / SCHEMA).write_text(built)
    lines = (folder / ACCEPTED).read_text().splitlines(keepends=True)
    (folder / ACCEPTED).write_text("".join(line for line in lines if line.startswith("#")))


def _terms(schema: GraphQLSchema) -> dict[str, FieldDefinitionNode]:
    roots = (root for root in (schema.query_type, schema.mutation_type) if root is not None)
    return {
        f"{root.name}.{name}": field.ast_node
        for root in roots
        for name, field in root.fields.items()
        if field.ast_node is not None
    }


def _changes_of_terms(name: str, old: FieldDefinitionNode, new: FieldDefinitionNode) -> Iterator[Change]:
    needed, needs = _scopes(old), _scopes(new)
    if needs is not None and needed is None:
        yield Change(f"KEY_REQUIRED: {name} needs an API key.", is_breaking=True)
    for scope in sorted((needs or set()) - (needed or set())):
        yield Change(f"SCOPE_REQUIRED: {name} needs the scope {scope}.", is_breaking=True)
    before, after = _priced(old), _priced(new)
    if before != after:
        yield Change(f"TERMS_CHANGED: {name} has {after or 'none'} instead of {before or 'none'}.", False)


def _scopes(field: FieldDefinitionNode) -> set[str] | None:
    """Return the scopes a field needs, or None when it needs no key."""
    for directive in field.directives or ():
        if directive.name.value == "requiresKey":
            (scopes,) = (argument.value for argument in directive.arguments or ())
            values = scopes.values if isinstance(scopes, ListValueNode) else ()
            return {print_ast(value) for value in values}
    return None


def _priced(field: FieldDefinitionNode) -> str:
    priced = (each for each in field.directives or () if each.name.value in {"cost", "rateLimit", "listSize"})
    return " ".join(map(print_ast, priced))


def main() -> int:
    """Report every change; 1 if one breaks clients and was not agreed to."""
    built = built_in_schema().sdl
    if "--release" in sys.argv[1:]:
        release(built)
        return 0
    found = list(changes((RELEASED / SCHEMA).read_text(), built))
    for change in found:
        print(f"{'breaking' if change.is_breaking else 'may surprise'}: {change.what}")
    wrong = list(complaints(found, read_accepted()))
    print("\n".join(wrong) or "No change since the released schema breaks a client unawares.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
