"""The catalogue: every action this server offers, in the order in which it was defined."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from api_factory.actions.annotations import types_in
from api_factory.actions.declaration import MARK
from api_factory.actions.definition import Action, define
from api_factory.actions.names import BUILT_IN_SCOPES, RESERVED_FIELDS
from api_factory.actions.refusals import ActionDefinitionError, Place

ENTRY_POINT_GROUP = "api_factory.actions"
"""The entry points by which an installed package offers its actions."""

_BUILT_IN_MODULE = "api_factory.hello"


class Catalogue:
    """An ordered, immutable collection of actions; iterating yields each `Action` once."""

    __slots__ = ("_by_field_name", "_by_name", "_types")

    def __init__(self, actions: Iterable[Action]) -> None:
        """Hold these actions; `ActionDefinitionError` when two share a field or two types share a name."""
        self._by_name: dict[str, Action] = {}
        self._by_field_name: dict[str, Action] = {}
        self._types: dict[str, type] = {}
        for each in actions:
            _check_field(each, self._by_field_name)
            self._by_name[each.name] = self._by_field_name[each.field_name] = each
            for type_name, used in _types_of(each):
                _check_type(each, type_name, used, self._types)
                self._types[type_name] = used

    @classmethod
    def load(cls, modules: Sequence[str], *, entry_points: bool = True) -> Catalogue:
        """Import the modules named, then the installed ones, and collect the functions marked with `@action`.

        The built-in actions come first; a function met twice counts once. Modules of the working directory
        can be named too. Importing runs the authors' code, so call this once and at start.

        Raises:
            ActionDefinitionError: A module cannot be imported or has no action, or an action is not defined
                well; the sentence names it and the fix.
        """
        _make_working_directory_importable()
        functions = [function for name in (_BUILT_IN_MODULE, *modules) for function in _functions_of(name)]
        if entry_points:
            functions += [function for point in _installed() for function in _functions_at(point)]
        unique = {id(function): function for function in functions}
        return cls([define(function) for function in unique.values()])

    def __iter__(self) -> Iterator[Action]:
        """Yield the actions in the order of their definition."""
        return iter(self._by_name.values())

    def __len__(self) -> int:
        """Count the actions, the built-in ones included."""
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        """Say whether there is an action of this Python name."""
        return name in self._by_name

    def get(self, name: str) -> Action | None:
        """Return the action of this Python name, or None."""
        return self._by_name.get(name)

    def by_field_name(self, field_name: str) -> Action | None:
        """Return the action behind this GraphQL root field, or None."""
        return self._by_field_name.get(field_name)

    @property
    def scopes(self) -> frozenset[str]:
        """Every scope a key can hold here: the built-in ones and those of the actions."""
        return frozenset(BUILT_IN_SCOPES) | {each.scope for each in self}

    @property
    def types(self) -> tuple[type, ...]:
        """Every dataclass and Enum the actions use, each under a name of its own."""
        return tuple(dict.fromkeys(self._types.values()))


def _check_field(new: Action, known: dict[str, Action]) -> None:
    place = Place(_path_of(new))
    if new.field_name in RESERVED_FIELDS and new.function.__module__ != _BUILT_IN_MODULE:
        raise place.refuse(
            f"{new.field_name} is a field of the server itself", "rename it, or give @action a name"
        )
    if (other := known.get(new.field_name)) is not None:
        problem = f"{_path_of(other)} has the field {new.field_name} already"
        raise place.refuse(problem, "rename one, or give @action a name")


def _check_type(owner: Action, type_name: str, used: type, known: dict[str, type]) -> None:
    other = known.get(type_name, used)
    if other is not used:
        both = " and ".join(f"{each.__module__}.{each.__qualname__}" for each in (used, other))
        raise Place(_path_of(owner)).refuse(
            f"{both} would both be the type {type_name}", "rename one, as clients see no modules"
        )


def _types_of(each: Action) -> Iterator[tuple[str, type]]:
    """Yield every class with each name it has in the API: a dataclass that clients send is `NameInput`."""
    for used in types_in(each.returns):
        yield used.__name__, used
    for parameter in each.parameters:
        for used in types_in(parameter.annotation, is_input=True):
            yield used.__name__, used
            if is_dataclass(used):
                yield f"{used.__name__}Input", used


def _path_of(each: Action) -> str:
    return f"{each.function.__module__}.{each.function.__qualname__}"


def _make_working_directory_importable() -> None:
    # At the end: a folder of the author must not shadow a package the server itself imports.
    directory = os.getcwd()
    if directory not in sys.path and "" not in sys.path:
        sys.path.append(directory)


def _installed() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value))


def _functions_at(point: EntryPoint) -> list[Callable[..., Any]]:
    if not point.attr:
        return _functions_of(point.module)
    found: object = _import(point.module)
    for name in point.attr.split("."):
        found = getattr(found, name, None)
    if not _is_action(found):
        fix = "name a module, or module:function with @action on the function"
        raise Place(f"The entry point {point.name} = {point.value!r}").refuse("it is no action", fix)
    return [found]  # type: ignore[list-item]


def _functions_of(module_name: str) -> list[Callable[..., Any]]:
    module = _import(module_name)
    functions = [found for found in vars(module).values() if _is_action(found)]
    if not functions:
        found_at = getattr(module, "__file__", None) or "a folder without __init__.py"
        place = Place(f"The module {module_name} ({found_at})")
        raise place.refuse("it has no actions", "mark a function with @action, or import one there")
    return functions


def _is_action(found: object) -> bool:
    return callable(found) and MARK in getattr(found, "__dict__", {})


def _import(module_name: str) -> ModuleType:
    if not all(part.isidentifier() for part in module_name.split(".")):
        fix = "write it with dots, like my_actions.text, and without a folder or .py"
        raise Place(f"The module {module_name!r}").refuse("is no name of a module", fix)
    try:
        return importlib.import_module(module_name)
    except ActionDefinitionError:
        raise
    except ModuleNotFoundError as error:
        fix = f"check the name, install it, or start in the folder that holds it (looked in {os.getcwd()})"
        raise Place(f"The module {module_name}").refuse(f"cannot be imported ({error})", fix) from error
    except (Exception, SystemExit) as error:
        # sys.exit at import would end the start without a word.
        problem = f"cannot be imported ({type(error).__name__}: {error})"
        raise Place(f"The module {module_name}").refuse(problem, "correct what it does at import") from error
