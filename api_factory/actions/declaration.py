"""`@action`: what an author says about a function. It stays his function, callable in his own tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Literal, TypeAlias, TypeVar, get_args, overload

from api_factory.actions.names import ACTION_SCOPE, BUILT_IN_SCOPES, is_action_name, is_scope
from api_factory.actions.refusals import ActionDefinitionError, Place
from api_factory.rates import Rate, parse_rates

Kind: TypeAlias = Literal["query", "mutation"]
"""A query has no side effects; mutations run one after the other."""

Charge: TypeAlias = Literal["on_success", "reserve", "free"]
"""When units are taken: after success, reserved before the call and settled after, or never."""

MARK = "__api_factory_action__"
"""The attribute that makes a function an action."""

UNITS_MAX = 2**31 - 1

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Declaration:
    """The options of `@action`, checked and with their defaults filled in."""

    name: str
    kind: Kind
    units: int
    scope: str
    rates: tuple[Rate, ...]
    charge: Charge
    public: bool
    deprecation_reason: str | None


@dataclass(frozen=True, slots=True)
class _Options:
    units: int | None
    scope: str | None
    rate: str | None
    charge: Charge | None
    kind: Kind
    name: str | None
    public: bool
    deprecated: str | None


@overload
def action(function: _Function, /) -> _Function: ...


@overload
def action(
    function: None = None,
    /,
    *,
    units: int | None = None,
    scope: str | None = None,
    rate: str | None = None,
    charge: Charge | None = None,
    kind: Kind = "query",
    name: str | None = None,
    public: bool = False,
    deprecated: str | None = None,
) -> Callable[[_Function], _Function]: ...


def action(  # noqa: PLR0913 - the whole of what an author can say, each by name and with a default
    function: Callable[..., Any] | None = None,
    /,
    *,
    units: int | None = None,
    scope: str | None = None,
    rate: str | None = None,
    charge: Charge | None = None,
    kind: Kind = "query",
    name: str | None = None,
    public: bool = False,
    deprecated: str | None = None,
) -> Callable[..., Any]:
    """Mark a typed function as an action of the API and return it unchanged.

    Args:
        function: The function, async or sync; a sync one runs in a worker thread.
        units: What a call costs; 1 unless it is free.
        scope: What a key must hold to call it; `RUN_ACTIONS` unless named.
        rate: Limits of its own, such as `10/second;600/minute`.
        charge: `on_success` (a failed call costs nothing; default of queries), `reserve` (the units are set
            aside before the call; default of mutations) or `free`.
        kind: `query`, or `mutation` for what has side effects.
        name: The name in the API, in snake_case; the function's own unless given.
        public: Whether it may be called without a key; only what is free can be.
        deprecated: Why it should no longer be used, and what to use instead.

    Raises:
        ActionDefinitionError: An option is wrong; the sentence names the function and the fix.
    """
    options = _Options(units, scope, rate, charge, kind, name, public, deprecated)

    def mark(marked: Callable[..., Any]) -> Callable[..., Any]:
        setattr(marked, MARK, _declare(marked, options))
        return marked

    return mark if function is None else mark(function)


def _declare(function: Callable[..., Any], options: _Options) -> Declaration:
    place = _place_of(function)
    if MARK in vars(function):
        raise place.refuse("it is marked twice", "keep one @action")
    _check_standing(function, place)
    _check_words(options, place)
    charge: Charge = options.charge or ("reserve" if options.kind == "mutation" else "on_success")
    if options.public and charge != "free":
        raise place.refuse("nobody pays for a public action", 'add charge="free", or take public=True away')
    return Declaration(
        name=_name(function, options, place),
        kind=options.kind,
        units=_units(charge, options.units, place),
        scope=_scope(options, place),
        rates=_rates(options.rate, place),
        charge=charge,
        public=options.public,
        deprecation_reason=options.deprecated,
    )


def _place_of(function: object) -> Place:
    if not isinstance(function, FunctionType):
        name = getattr(function, "__qualname__", repr(function))
        raise Place(name).refuse("it is not a function", "put @action on a function made with def")
    return Place(f"{function.__module__}.{function.__qualname__}")


def _check_standing(function: Callable[..., Any], place: Place) -> None:
    outer, _, name = function.__qualname__.rpartition(".")
    if outer and not outer.endswith("<locals>"):
        fix = "write the action as a function of its own, outside of any class"
        raise place.refuse(f"it is a method of {outer}", fix)
    # The module would keep the last one only. A module that is read again meets its own functions.
    before = None if outer else inspect.unwrap(function).__globals__.get(name)
    if (
        isinstance(before, FunctionType)
        and MARK in vars(before)
        and before.__module__ == function.__module__ != "__main__"
        and _line_of(before) != _line_of(function)
    ):
        raise place.refuse("its module has an action of that name already", "rename one of the two")


def _line_of(function: Callable[..., Any]) -> tuple[str, int]:
    code = inspect.unwrap(function).__code__
    return code.co_filename, code.co_firstlineno


def _check_words(options: _Options, place: Place) -> None:
    for option, value, choices in (("kind", options.kind, Kind), ("charge", options.charge, Charge)):
        if value not in (*get_args(choices), *((None,) if option == "charge" else ())):
            words = ", ".join(map(repr, get_args(choices)))
            raise place.refuse(f"{option}={value!r} is unknown", f"choose one of {words}")
    if options.deprecated is not None and not options.deprecated.strip():
        raise place.refuse("deprecated is empty", "say what to use instead")
    place.check_text(options.deprecated, "deprecated")


def _name(function: Callable[..., Any], options: _Options, place: Place) -> str:
    name = function.__name__ if options.name is None else options.name
    if not is_action_name(name):
        raise place.refuse(f"{name!r} cannot be the name of an action", 'give one like name="word_count"')
    return name


def _units(charge: Charge, units: int | None, place: Place) -> int:
    if charge == "free":
        if units is not None:
            raise place.refuse("it is free and has units", "take units or charge away")
        return 0
    if units is None:
        return 1
    if type(units) is not int or not 1 <= units <= UNITS_MAX:
        fix = f'give a whole number from 1 to {UNITS_MAX}, or charge="free"'
        raise place.refuse(f"units={units!r} cannot be charged", fix)
    return units


def _scope(options: _Options, place: Place) -> str:
    scope = ACTION_SCOPE if options.scope is None else options.scope
    if options.public and options.scope is not None:
        raise place.refuse("it is public and has a scope", "take one of them away")
    if not is_scope(scope):
        raise place.refuse(f"{scope!r} cannot be a scope", "write it in capitals, like READ_REPORTS")
    if scope in BUILT_IN_SCOPES and scope != ACTION_SCOPE:
        fix = f"use {ACTION_SCOPE} or a name of your own"
        raise place.refuse(f"{scope} opens the server's own fields", fix)
    return scope


def _rates(text: str | None, place: Place) -> tuple[Rate, ...]:
    if text is None:
        return ()
    try:
        return parse_rates(text)
    except ValueError as error:
        raise ActionDefinitionError(f"{place.function}, rate: {error}") from error
