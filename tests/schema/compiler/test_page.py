"""The example in docs/explanation/executor.md is what the compiler writes."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from graphql import build_schema, parse

from tests.schema.compiler.judge import programs_of
from tests.schema.compiler.worlds import Attribute

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "executor.md"


async def _greet(_source: Any, _info: Any, name: str) -> Any:
    return name


def test_the_program_on_the_page_is_the_program_that_is_made() -> None:
    (sdl, document) = re.findall(r"```graphql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    schema: Any = build_schema(sdl)
    schema.query_type.fields["greet"].resolve = _greet
    schema.type_map["Greeting"].fields["text"].resolve = Attribute("text")
    programs = programs_of(schema, parse(document), is_on=True)
    variables: Any = programs.reader.read({"name": "Ada"})
    made: Any = programs.program(variables)
    # The page is formatted as all code here is.
    assert ast.unparse(ast.parse(program)) == ast.unparse(ast.parse(made.text))
