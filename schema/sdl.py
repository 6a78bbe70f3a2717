"""The schema as text, and the line of each root field in it."""

from __future__ import annotations

from typing import Final

from graphql import (
    FieldDefinitionNode,
    InputValueDefinitionNode,
    ObjectTypeDefinitionNode,
    parse,
    print_ast,
)
from strawberry import Schema
from strawberry.printer import print_schema

_ROOTS: Final = frozenset({"Query", "Mutation"})


def print_sdl(schema: Schema) -> str:
    """Return the SDL with its applied directives, which introspection never shows."""
    return "\n".join(line.rstrip() for line in print_schema(schema).splitlines()) + "\n"


def signatures_of(sdl: str) -> dict[str, str]:
    """Return each root field as SDL without its help, by its name."""
    found = {}
    for definition in parse(sdl, no_location=True).definitions:
        if isinstance(definition, ObjectTypeDefinitionNode) and definition.name.value in _ROOTS:
            for field in definition.fields or ():
                found[field.name.value] = print_ast(_without_help(field))
    return found


def _without_help(field: FieldDefinitionNode) -> FieldDefinitionNode:
    arguments = tuple(
        InputValueDefinitionNode(
            name=each.name, type=each.type, default_value=each.default_value, directives=each.directives
        )
        for each in field.arguments or ()
    )
    return FieldDefinitionNode(
        name=field.name, arguments=arguments, type=field.type, directives=field.directives
    )
