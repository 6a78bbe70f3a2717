"""An action: the author's function, what he declared of it, and what its signature and docstring say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, get_type_hints

from api_factory.actions.annotations import Parameter, parameter, readable, resolve
from api_factory.actions.arguments import Path, arguments_reader
from api_factory.actions.calls import Caller
from api_factory.actions.declaration import MARK, Charge, Declaration, Kind
from api_factory.actions.docstrings import Docstring, parse_docstring
from api_factory.actions.hints import Hint
from api_factory.actions.names import camel_case, first_collision, is_member_name
from api_factory.actions.refusals import Place
from api_factory.actions.results import check_of
from api_factory.actions.threads import run_in_thread
from api_factory.rates import Rate

_UNNAMED = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
    inspect.Parameter.POSITIONAL_ONLY,
)


@dataclass(frozen=True, slots=True)
class Action:
    """A function as the API offers it; every type in it has been checked."""

    name: str
    field_name: str
    function: Callable[..., Any]
    kind: Kind
    units: int
    scope: str
    rates: tuple[Rate, ...]
    charge: Charge
    public: bool
    description: str | None
    parameters: tuple[Parameter, ...]
    returns: Hint
    returns_description: str | None
    caller_parameter: str | None
    is_async: bool
    deprecation_reason: str | None
    _read: Callable[[Mapping[str, object], Path], dict[str, Any]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Compile the reading of the arguments, once for all calls."""
        object.__setattr__(self, "_read", arguments_reader(self.parameters))

    @property
    def signature(self) -> str:
        """The function in one readable line, as its clients see it."""
        written = ", ".join(map(_written, self.parameters))
        return f"{self.name}({written}) -> {readable(self.returns)}"

    async def invoke(self, arguments: Mapping[str, object], caller: Caller) -> object:
        """Run the function with arguments by their Python names; what it raises comes out unchanged.

        The arguments are as a face has read them: a dict where a dataclass is made, a list where a set is.
        A sync function runs in a thread, where it keeps its context variables. No thread can be stopped:
        when the call is cancelled its function goes on unseen, and keeps its place among the
        `threads.THREADS_MAX` until it has ended.

        Raises:
            BadUserInput: The author's class refused its fields with a `ValueError`.
            WrongResult: The function returned what it does not promise, so no face could write it.
        """
        if self.is_async:
            result = await self.function(**self._keywords(arguments, caller))
        else:
            result = await run_in_thread(lambda: self.function(**self._keywords(arguments, caller)))
            result = await result if inspect.isawaitable(result) else result
        check_of(self.returns)(result)
        return result

    def _keywords(self, arguments: Mapping[str, object], caller: Caller) -> dict[str, Any]:
        keywords = self._read(arguments, ())
        if self.caller_parameter is not None:
            keywords[self.caller_parameter] = caller
        return keywords


def define(function: Callable[..., Any]) -> Action:
    """Read a marked function; `ActionDefinitionError` names what a client could not be told."""
    declared: Declaration = getattr(function, MARK)
    place = Place(f"{function.__module__}.{function.__qualname__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise place.refuse("it yields", "return a list")
    hints = _hints_of(function, place)
    place.check_text(function.__doc__, "its docstring")
    said = parse_docstring(function.__doc__)
    parameters, caller_parameter = _parameters(function, hints, said, place)
    return Action(
        name=declared.name,
        field_name=camel_case(declared.name),
        function=function,
        kind=declared.kind,
        units=declared.units,
        scope=declared.scope,
        rates=declared.rates,
        charge=declared.charge,
        public=declared.public,
        description=said.head,
        parameters=parameters,
        returns=_returns(hints, place),
        returns_description=said.returns,
        caller_parameter=caller_parameter,
        is_async=inspect.iscoroutinefunction(function),
        deprecation_reason=declared.deprecation_reason,
    )


def _hints_of(function: Callable[..., Any], place: Place) -> dict[str, Hint]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        fix = "import the name outside of TYPE_CHECKING, or define it at module level"
        raise place.refuse(f"an annotation cannot be read ({error})", fix) from error


def _returns(hints: Mapping[str, Hint], place: Place) -> Hint:
    place = place.at("the return value")
    if "return" not in hints:
        raise place.refuse("it has no annotation", "write -> and the type that is returned")
    return resolve(hints["return"], place)


def _parameters(
    function: Callable[..., Any], hints: Mapping[str, Hint], said: Docstring, place: Place
) -> tuple[tuple[Parameter, ...], str | None]:
    parameters: list[Parameter] = []
    callers: list[str] = []
    for each in inspect.signature(function).parameters.values():
        here = place.at(f"parameter {each.name!r}", is_input=True)
        _check_shape(each, hints, here)
        if hints[each.name] is Caller:
            callers.append(each.name)
        else:
            default = MISSING if each.default is inspect.Parameter.empty else each.default
            draft = Parameter(each.name, None, default, None, said.entries.get(each.name))
            parameters.append(parameter(hints[each.name], draft, here))
    if len(callers) > 1:
        raise place.refuse(f"{callers[0]!r} and {callers[1]!r} are both the Caller", "keep one")
    if pair := first_collision(each.name for each in parameters):
        raise place.refuse(f"{pair[0]!r} and {pair[1]!r} are one name in camelCase", "rename one")
    return tuple(parameters), callers[0] if callers else None


def _check_shape(each: inspect.Parameter, hints: Mapping[str, Hint], place: Place) -> None:
    if each.kind in _UNNAMED:
        fix = f"write {each.name}: TYPE, with no * or /"
        raise place.refuse("clients give every argument by its name", fix)
    if each.name not in hints:
        raise place.refuse("it has no annotation", f"write {each.name}: TYPE")
    if not is_member_name(each.name):
        raise place.refuse("its name cannot be one in the API", "use ASCII letters, digits and _")


def _written(each: Parameter) -> str:
    default = "" if each.default is MISSING else f" = {each.default!r}"
    return f"{each.name}: {readable(each.annotation)}{default}"
