"""A call to copy and paste: a real action, with a key, by curl."""

from __future__ import annotations

import dataclasses
import json
import shlex
import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Union, get_args

from api_factory.actions import Action, fields_of
from api_factory.actions.hints import Hint, origin_of

if TYPE_CHECKING:
    from api_factory.keys import Key

DEFAULT_URL = "http://127.0.0.1:8000"

_BUILT_IN_MODULE = "api_factory.hello"
_SAMPLE = "Measure what you charge for, and charge for what you measure."


def curl_line(url: str, secret: str | None, actions: Iterable[Action]) -> str:
    """Return a command line that calls one of the actions at the server behind the url.

    Without a secret it takes the key from the shell's variable KEY.
    """
    body = json.dumps({"query": example_query(actions)})
    bearer = '"Authorization: Bearer $KEY"' if secret is None else f"'Authorization: Bearer {secret}'"
    address = shlex.quote(f"{url}/graphql")
    return f"curl -sS {address} -H {bearer} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def callable_with(key: Key, actions: Iterable[Action]) -> list[Action]:
    """Return the actions that a key may call."""
    return [
        action
        for action in actions
        if action.scope in key.scopes and (key.allowed_actions is None or action.name in key.allowed_actions)
    ]


def example_query(actions: Iterable[Action]) -> str:
    """Return a query of the simplest action that text alone can try, the authors' before the built-in."""
    candidates = [action for action in actions if _takes_text(action)]
    if not candidates:
        return "{ viewer { id } }"
    chosen = min(candidates, key=_rank)
    required = [each for each in chosen.parameters if each.is_required]
    arguments = ", ".join(f"{each.field_name}: {json.dumps(_SAMPLE)}" for each in required)
    call = f"{chosen.field_name}({arguments})" if arguments else chosen.field_name
    return f"{{ {call}{_selection(chosen.returns)} }}"


def _rank(action: Action) -> tuple[bool, bool, int]:
    required = sum(each.is_required for each in action.parameters)
    return action.function.__module__ == _BUILT_IN_MODULE, action.public, required


def _takes_text(action: Action) -> bool:
    required = [each.annotation for each in action.parameters if each.is_required]
    return (
        action.kind == "query" and bool(required or action.public) and all(hint is str for hint in required)
    )


def _selection(hint: Hint) -> str:
    """Return what to select: nothing of a scalar, all of an object; none of them holds itself."""
    hint = _innermost(hint)
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return ""
    return f" {{ {' '.join(field.field_name + _selection(field.annotation) for field in fields_of(hint))} }}"


def _innermost(hint: Hint) -> Hint:
    while origin_of(hint) in (Union, types.UnionType, list, tuple, set, frozenset):
        hint = next(each for each in get_args(hint) if each is not type(None))
    return hint
