"""One action as JSON sees it: how its arguments are read and its result is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from api.shapes import ReadShapes, WrittenShapes, given
from api_factory.actions import Action
from api_factory.errors import BadUserInput

PROBLEMS_MAX: Final = 20
_PATH_PART_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Form:
    """An action with the models of its arguments and of its result, made once at start."""

    action: Action
    arguments: type[BaseModel]
    result: type[BaseModel]

    def read(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Return parsed JSON as arguments by Python names, for `Action.invoke`; no author's code runs.

        Raises `BadUserInput` with `problems`: the path and the message of each thing that is wrong.
        """
        try:
            # Again as JSON: only there pydantic is strict and still takes a string for a UUID.
            text = json.dumps(arguments, allow_nan=False)
        except ValueError:
            raise BadUserInput("A number is out of range; JSON has no infinity.") from None
        try:
            values = self.arguments.model_validate_json(text)
        except ValidationError as error:
            raise _refusal(error) from None
        return given(values, self.action.parameters)

    def write(self, result: object) -> bytes:
        """Return `{"data": …}` as JSON; the result is as `Action.invoke` returned it."""
        return self.result.model_validate({"data": result}).model_dump_json(by_alias=True).encode()


def forms_of(actions: Iterable[Action]) -> dict[str, Form]:
    """Return the form of each action by its Python name; a dataclass they share is one schema."""
    read, written = ReadShapes(), WrittenShapes()
    forms = {}
    for action in actions:
        title = action.field_name[0].upper() + action.field_name[1:]
        arguments = read.arguments(f"{title}Arguments", action.parameters)
        result = written.result(f"{title}Result", action.returns, action.returns_description)
        forms[action.name] = Form(action, arguments, result)
    return forms


def _refusal(error: ValidationError) -> BadUserInput:
    found = error.errors(include_url=False, include_input=False)
    problems = [{"path": _path(each["loc"]), "message": _message(each)} for each in found[:PROBLEMS_MAX]]
    first = problems[0]
    where = ".".join(map(str, first["path"])) or "arguments"
    return BadUserInput(f"{where}: {first['message']}", extensions={"problems": problems})


def _path(location: tuple[int | str, ...]) -> list[int | str]:
    return [part[:_PATH_PART_MAX] if isinstance(part, str) else part for part in location]


def _message(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "There is no such field; take it away."
    if problem["type"] == "missing":
        return "It is required."
    # What `actions.wire` refuses is said in its words.
    cause = problem.get("ctx", {}).get("error")
    return str(cause or problem["msg"]).rstrip(".") + "."
