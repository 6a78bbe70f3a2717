"""The types an action may take and give, checked before the server starts.

`resolve` returns what a face needs and nothing else: `Annotated` and type aliases are taken off, and what is
left is one of: int, float, str, bool, ID, UUID, date, datetime, time, Decimal; `list[X]`, `tuple[X, ...]`,
`set[X]`, `frozenset[X]`; `Optional[X]`; an Enum; a dataclass; `dict`, `dict[str, X]` or `Any` for free JSON.
An int has 32 bits on every face, as GraphQL's Int has; inside free JSON it has 64.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, Flag
from functools import cache
from typing import Annotated, Any, Literal, NewType, Optional, Union, get_args, get_type_hints
from uuid import UUID

from api_factory.actions.calls import ID, Caller
from api_factory.actions.defaults import conforms
from api_factory.actions.docstrings import docstring_of
from api_factory.actions.hints import Hint, origin_of
from api_factory.actions.names import camel_case, first_collision, is_member_name
from api_factory.actions.refusals import ActionDefinitionError, Place

SCALARS = (bool, int, float, str, ID, UUID, date, datetime, time, Decimal)
"""Types that travel as one value."""

_COLLECTIONS = (list, tuple, set, frozenset)
_JSON_VALUES = (bool, int, float, str, dict, type(None), Any)
_GRAPHQL_WORDS = frozenset({"true", "false", "null"})


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of an action or a field of a dataclass; `default` is `MISSING` where there is none."""

    name: str
    annotation: Hint
    default: object
    default_factory: Callable[[], object] | None = None
    description: str | None = None

    @property
    def field_name(self) -> str:
        """The name clients use, in camelCase."""
        return camel_case(self.name)

    @property
    def is_required(self) -> bool:
        """Whether a client must give it, as there is no default."""
        return self.default is dataclasses.MISSING and self.default_factory is None


def resolve(annotation: Hint, place: Place) -> Hint:
    """Return the type the faces see; refuse what no client could be told about."""
    annotation = _bare(annotation, place)
    origin = origin_of(annotation)
    if annotation is Any or any(annotation is scalar for scalar in SCALARS):
        return annotation
    if origin in (Union, types.UnionType):
        return _optional(annotation, place)
    if annotation in _COLLECTIONS or origin in _COLLECTIONS:
        return _collection(annotation, place)
    if annotation is dict or origin is dict:
        return _json(annotation, place)
    if isinstance(annotation, type) and origin is None:
        return _class(annotation, place)
    raise _unknown(annotation, place)


def description_in(annotation: Hint) -> str | None:
    """Return the text of `Annotated[X, "text"]`, the help of one value."""
    said = [each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, str)]
    return said[0] if said else None


def parameter(hint: Hint, draft: Parameter, place: Place) -> Parameter:
    """Complete a parameter with its resolved type; refuse a default that is not of that type."""
    annotation = resolve(hint, place)
    if draft.default is not dataclasses.MISSING:
        _check_default(draft.default, annotation, place)
    elif draft.default_factory is not None and place.is_input:
        _check_default(_made(draft.default_factory, place), annotation, place)
    description = description_in(hint) or draft.description
    place.check_text(description, "its description")
    return dataclasses.replace(draft, annotation=annotation, description=description)


@cache
def fields_of(cls: type, *, is_input: bool = False) -> tuple[Parameter, ...]:
    """Return the fields of a dataclass in order; as input, only those its constructor takes."""
    return _fields(cls, Place(f"{cls.__module__}.{cls.__qualname__}", "the dataclass", is_input))


def types_in(annotation: Hint, *, is_input: bool = False) -> Iterator[type]:
    """Yield every dataclass and Enum that a resolved type is made of, outermost first."""
    for argument in get_args(annotation):
        yield from types_in(argument, is_input=is_input)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield annotation
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
        for field in fields_of(annotation, is_input=is_input):
            yield from types_in(field.annotation, is_input=is_input)


def readable(annotation: Hint) -> str:
    """Write a resolved type as its author would: `list[Keyword] | None`."""
    arguments = get_args(annotation)
    if origin_of(annotation) in (Union, types.UnionType):
        return " | ".join(map(readable, arguments))
    if annotation is type(None):
        return "None"
    name = getattr(annotation, "__name__", str(annotation))
    inner = ", ".join("..." if argument is ... else readable(argument) for argument in arguments)
    return f"{name}[{inner}]" if inner else name


def _made(factory: Callable[[], object], place: Place) -> object:
    try:
        return factory()
    except Exception as error:
        problem = f"its default_factory fails ({type(error).__name__}: {error})"
        raise place.refuse(problem, "correct it; it takes nothing and returns the default") from error


def _check_default(default: object, annotation: Hint, place: Place) -> None:
    if conforms(default, annotation, _members):
        return
    name = readable(annotation)
    if isinstance(default, str):
        place.check_text(default, f"the default {default!r}")
    if conforms(default, annotation):
        fix = f"give every field of {name} a value of its type"
        raise place.refuse(f"the default {default!r} has fields of another type", fix)
    fix = f"annotate it as {name} | None" if default is None else f"give one that is: {name}"
    raise place.refuse(f"the default {default!r} is not of type {name}", fix)


def _members(cls: type) -> Iterator[tuple[str, Hint]]:
    return ((each.name, each.annotation) for each in fields_of(cls, is_input=True))


def _bare(annotation: Hint, place: Place) -> Hint:
    while True:
        if origin_of(annotation) is Annotated:
            _check_metadata(annotation.__metadata__, place)
            annotation = annotation.__origin__
        elif annotation is not ID and isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _check_metadata(metadata: tuple[object, ...], place: Place) -> None:
    for each in metadata:
        if not isinstance(each, str):
            fix = "check the value in the function and raise ActionError; Annotated may hold a description"
            raise place.refuse(f"nothing enforces {each!r} in Annotated", fix)


def _optional(annotation: Hint, place: Place) -> Hint:
    members = [member for member in get_args(annotation) if member is not type(None)]
    if len(members) != 1 or len(members) == len(get_args(annotation)):
        fix = "take one type, or a dataclass with an optional field for each case"
        raise place.refuse(f"{_written(annotation)} can be several types", fix)
    return Optional[resolve(members[0], place)]  # noqa: UP045 - the type is a value here


def _collection(annotation: Hint, place: Place) -> Hint:
    origin = origin_of(annotation) or annotation
    items = [argument for argument in get_args(annotation) if argument is not ...]
    example = "tuple[str, ...]" if origin is tuple else f"{origin.__name__}[str]"
    if not items:
        raise place.refuse(f"{origin.__name__} does not say what it holds", f"write {example}")
    if origin is tuple and get_args(annotation)[1:] != (...,):
        fix = f"write {example}, or a dataclass with a name for each place"
        raise place.refuse(f"{_written(annotation)} has places without names", fix)
    item = resolve(items[0], place)
    if origin in (set, frozenset) and not _is_hashable(item):
        raise place.refuse(f"{readable(item)} cannot be in a set", "write list[...] instead")
    return tuple[item, ...] if origin is tuple else origin[item]  # type: ignore[valid-type]


def _is_hashable(annotation: Hint) -> bool:
    members = [member for member in get_args(annotation) if member is not type(None)]
    if origin_of(annotation) is Union:
        return _is_hashable(members[0])
    if origin_of(annotation) in (tuple, frozenset):
        return all(_is_hashable(member) for member in members if member is not ...)
    kind = origin_of(annotation) or annotation
    return kind is not Any and kind.__hash__ is not None


def _json(annotation: Hint, place: Place) -> Hint:
    if annotation is dict:
        return dict
    key, value = get_args(annotation)
    if key is not str:
        raise place.refuse(f"{_written(annotation)} has keys that JSON does not know", "use str for the keys")
    _check_json_value(value, place)
    return dict[str, value]  # type: ignore[valid-type]


def _check_json_value(annotation: Hint, place: Place) -> None:
    origin, members = origin_of(annotation), get_args(annotation)
    if annotation is list or any(annotation is each for each in _JSON_VALUES):
        return
    if origin not in (list, dict, Union, types.UnionType):
        fix = "use dict[str, Any], or a dataclass so that clients see its fields"
        raise place.refuse(f"{_written(annotation)} in a dict would travel as untyped JSON", fix)
    for member in members:
        _check_json_value(member, place)


def _class(cls: type, place: Place) -> type:
    if cls is Caller:
        fix = "annotate one parameter of the function itself with Caller"
        raise place.refuse("Caller is given by the server and can be no part of a value", fix)
    place.check_text(cls.__doc__, f"the docstring of {cls.__name__}")
    if issubclass(cls, Enum):
        _check_enum(cls, place)
    elif dataclasses.is_dataclass(cls):
        _fields(cls, place)
    else:
        raise _unknown(cls, place)
    return cls


def _check_enum(cls: type[Enum], place: Place) -> None:
    if issubclass(cls, Flag):
        raise place.refuse(f"{cls.__name__} is a Flag", "use an Enum and take a list of it")
    if not list(cls):
        raise place.refuse(f"{cls.__name__} has no members", "add one")
    wrong = [name for name in cls.__members__ if not is_member_name(name) or name in _GRAPHQL_WORDS]
    if wrong or not is_member_name(cls.__name__):
        name = wrong[0] if wrong else cls.__name__
        raise place.refuse(f"{name!r} cannot be a name in GraphQL", "use ASCII letters, digits and _")


def _fields(cls: type, place: Place) -> tuple[Parameter, ...]:
    if cls in place.within:
        fix = "give ids and a flat list, or Any for a tree as JSON"
        raise place.refuse(f"{cls.__name__} contains itself, so it has no largest size", fix)
    fields = [each for each in dataclasses.fields(cls) if each.init or not place.is_input]
    _check_field_names(cls, [each.name for each in fields], place)
    hints = _hints_of(cls, place)
    help_texts = docstring_of(cls).entries
    return tuple(
        parameter(
            hints[each.name],
            Parameter(
                each.name,
                None,
                each.default,
                None if each.default_factory is dataclasses.MISSING else each.default_factory,
                help_texts.get(each.name),
            ),
            place.inside(cls, each.name),
        )
        for each in fields
    )


def _check_field_names(cls: type, names: list[str], place: Place) -> None:
    if not names:
        raise place.refuse(f"{cls.__name__} has no fields", "add one, or return a plain type")
    if wrong := [name for name in (cls.__name__, *names) if not is_member_name(name)]:
        fix = "start it with an ASCII letter and use letters, digits and _"
        raise place.refuse(f"{wrong[0]!r} in {cls.__name__} cannot be a name in the API", fix)
    if pair := first_collision(names):
        raise place.refuse(f"{cls.__name__}.{pair[0]} and {pair[1]} are one name in camelCase", "rename one")
    if place.is_input and set(inspect.signature(cls).parameters) != set(names):
        fix = "take a dataclass whose constructor takes its fields and nothing else"
        raise place.refuse(f"{cls.__name__} cannot be made from its fields", fix)


def _hints_of(cls: type, place: Place) -> Mapping[str, Hint]:
    try:
        return get_type_hints(cls, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        fix = f"import the name in {cls.__module__} outside of TYPE_CHECKING, or define it at module level"
        raise place.refuse(f"an annotation of {cls.__name__} cannot be read ({error})", fix) from error


def _unknown(annotation: Hint, place: Place) -> ActionDefinitionError:
    written = _written(annotation)
    if annotation is object:
        return place.refuse("object says nothing about the value", "write the type, or Any for free JSON")
    if annotation is None or annotation is type(None):
        return place.refuse("None alone is no value", "name a type a client can use, such as bool")
    if origin_of(annotation) is Literal:
        return place.refuse(f"{written} has no name in the API", "use an Enum")
    if isinstance(annotation, type) and origin_of(annotation) is None:
        return place.refuse(f"{written} is not known to the API", "make it a dataclass, or use a plain type")
    fix = "use a plain type, list[...], X | None, an Enum or a dataclass"
    return place.refuse(f"{written} is not known to the API", fix)


def _written(annotation: Hint) -> str:
    is_plain = isinstance(annotation, type) and origin_of(annotation) is None
    return annotation.__qualname__ if is_plain else str(annotation).replace("typing.", "")
