"""What generated code leans on while it runs: places, errors, awaiting, and the way back to graphql-core.

Generated code handles the values that are what their type says: a `str` for a String, an object of an
ordinary class, a list. Everything else (an awaitable in an attribute, an exception as a value, an async
generator, a str subclass, …) is handed, value by value, to graphql-core's own `complete_value`, whose
behaviour is thereby ours. No resolver runs twice for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from types import CoroutineType, GeneratorType
from typing import Any, Final, TypeAlias

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    Undefined,
    get_nullable_type,
    located_error,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import CollectedErrors, invalid_return_type_error
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path, gather_with_cancel, inspect, is_awaitable

At: TypeAlias = tuple[Any, str | int, str | None] | None
"""A response path as generated code writes it: (path before, key or index, type name); `Path` when needed."""

Pending: TypeAlias = list[tuple[Any, Coroutine[Any, Any, Any]]]
"""What is still to be awaited in one object or list: its key or index, and the coroutine of its value."""

LISTS: Final = frozenset({list, tuple, set, frozenset})

MOST_PLAIN_CLASSES: Final = 4_000

PLAIN: Final[set[type]] = set()
"""Classes whose values are what they are: not awaited, not iterated asynchronously, not raised."""

_NEVER_PLAIN: Final = (BaseException, GeneratorType, type, type(Undefined), type(None))
_BACKGROUND: Final[set[asyncio.Future[Any]]] = set()


class Place:
    """One place of an operation's reply: a field of an object, or the items of a list.

    `type` is what is declared there, `details` are the selections merged into it.
    """

    __slots__ = ("details", "field", "is_non_null", "nodes", "parent", "type")

    def __init__(
        self,
        parent: GraphQLObjectType,
        field: GraphQLField,
        details: FieldDetailsList,
        declared: GraphQLOutputType,
    ) -> None:
        """Describe the place; `declared` is the field's type, or that of the items below it."""
        self.parent = parent
        self.field = field
        self.details = details
        self.nodes: list[FieldNode] = [each.node for each in details]
        self.type = declared
        self.is_non_null = isinstance(declared, GraphQLNonNull)

    def caught(self, error: Exception, at: At, state: State) -> None:
        """Note an error of this place, which is null then; raise it, located, where null may not stand."""
        path = to_path(at)
        located = located_error(error, self.nodes, path.as_list())
        if self.is_non_null:
            raise located
        state.errors.add(located, path)

    def info(self, at: At, state: State) -> Info:
        """Return what a resolver is told of this place."""
        return Info(self, at, state)

    def arguments(self, state: State) -> dict[str, Any]:
        """Coerce the arguments as graphql-core does, where that is more than looking variables up."""
        return get_argument_values(self.field, self.nodes[0], state.variables, None, True)

    def rescue(self, value: Any, at: At, state: State) -> Any:
        """Complete a value that generated code has no short way for.

        Returns a coroutine for an awaitable; it cares for its errors itself.
        """
        if is_awaitable(value):
            return self._awaited(value, at, state)
        completed = self.complete(value, at, state)
        return self.settled(completed, at, state) if completed.__class__ is CoroutineType else completed

    def complete(self, value: Any, at: At, state: State) -> Any:
        """Complete what has been awaited: graphql-core awaits a value once and no more.

        Returns a coroutine where something below is to be awaited; its errors are this place's.
        """
        learn(type(value))
        interpreter, info, path = self._told(at, state)
        return _coroutine(interpreter.complete_value(self.type, self.details, info, path, value, None))

    def written(self, leaf: Any, value: Any) -> Any:
        """Check what a scalar or enum was written as; returns a coroutine for an awaitable."""
        if leaf is None or leaf is Undefined:
            raise TypeError(
                f"Expected `{get_nullable_type(self.type)}.coerce_output_value({inspect(value)})`"
                f" to return non-nullable value, returned: {inspect(leaf)}"
            )
        learn(type(leaf))
        return _coroutine(leaf)

    def typed(self, found: Any, value: Any, at: At, state: State) -> Any:
        """Complete a value of an abstract type of which `found`, no name of a type there, has been told."""
        if is_awaitable(found):
            return self._typed_later(found, value, at, state)
        interpreter, info, path = self._told(at, state)
        abstract: Any = get_nullable_type(self.type)
        kind = interpreter.ensure_valid_runtime_type(found, abstract, self.details, info, value)
        return interpreter.complete_object_value(kind, self.details, info, path, value, None)

    def agree(self, answer: object, kind: GraphQLObjectType, value: Any) -> None:
        """Refuse a value that its type's `is_type_of` did not know."""
        if not answer:
            raise invalid_return_type_error(kind, value, self.details)

    async def settled(self, value: Coroutine[Any, Any, Any], at: At, state: State) -> Any:
        """Await what is below this place, with the place's own care for errors."""
        try:
            return await value
        except Exception as error:
            return self.caught(error, at, state)

    async def _awaited(self, value: Any, at: At, state: State) -> Any:
        try:
            completed = self.complete(await value, at, state)
            return await completed if completed.__class__ is CoroutineType else completed
        except Exception as error:
            return self.caught(error, at, state)

    async def _typed_later(self, found: Any, value: Any, at: At, state: State) -> Any:
        completed = self.typed(await found, value, at, state)
        return await completed if completed.__class__ is CoroutineType else completed

    def _told(self, at: At, state: State) -> tuple[Executor[Any], GraphQLResolveInfo[Any], Path]:
        interpreter = state.interpreter()
        info = interpreter.build_resolve_info(self.field, self.nodes, self.parent, to_path(field_of(at)))
        return interpreter, info, to_path(at)


class Info:
    """`GraphQLResolveInfo`, built when a resolver asks for more than the context or the path."""

    __slots__ = ("_at", "_built", "_place", "_state")

    def __init__(self, place: Place, at: At, state: State) -> None:
        """Remember where the resolver is called."""
        self._place = place
        self._at = at
        self._state = state
        self._built: Any = None

    @property
    def context(self) -> Any:
        """What the operation carries to its resolvers."""
        return self._state.context

    @property
    def path(self) -> Path:
        """Where in the reply the field stands."""
        return to_path(field_of(self._at))

    @property
    def field_name(self) -> str:
        """The name of the field in the schema."""
        return self._place.nodes[0].name.value

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the real one."""
        if name.startswith("__"):
            # Copying asks for some before there is anything to build from.
            raise AttributeError(name)
        if self._built is None:
            place = self._place
            self._built = self._state.interpreter().build_resolve_info(
                place.field, place.nodes, place.parent, self.path
            )
        return getattr(self._built, name)


class State:
    """One run: its context and variables, and the errors so far."""

    __slots__ = ("_build", "_interpreter", "context", "errors", "values", "variables")

    def __init__(self, build: Any, context: Any, variables: VariableValues) -> None:
        """Start without an error; `build` makes a graphql-core executor of the same operation, if ever."""
        self._build = build
        self._interpreter: Executor[Any] | None = None
        self.context = context
        self.variables = variables
        self.values: Mapping[str, Any] = variables.coerced
        self.errors = CollectedErrors()

    def interpreter(self) -> Executor[Any]:
        """Return graphql-core's executor of this operation, which notes its errors with this run's."""
        if self._interpreter is None:
            built: Executor[Any] = self._build(self.context, self.variables)
            built.collected_errors = self.errors
            self._interpreter = built
        return self._interpreter


def _coroutine(value: Any) -> Any:
    # Generated code knows what is to be awaited by its class.
    return _waited_for(value) if is_awaitable(value) and value.__class__ is not CoroutineType else value


async def _waited_for(value: Awaitable[Any]) -> Any:
    return await value


def learn(cls: type) -> None:
    """Remember a class as plain, if it is. A class that answers for any attribute never is."""
    if issubclass(cls, _NEVER_PLAIN) or cls is CoroutineType:
        return
    if any(hasattr(cls, name) for name in ("__await__", "__aiter__", "__getattr__")):
        return
    if len(PLAIN) >= MOST_PLAIN_CLASSES:
        PLAIN.clear()
    PLAIN.add(cls)


def field_of(at: At) -> At:
    """Return the path of the field that a place belongs to: resolvers know no items of lists."""
    while at is not None and isinstance(at[1], int):
        at = at[0]
    return at


def to_path(at: At) -> Path:
    """Return graphql-core's form of a path. The root itself has none, so `at` must not be None."""
    if at is None:
        raise ValueError("the root has no path")
    before, key, typename = at
    return Path(to_path(before) if before is not None else None, key, typename)


def later(pending: Pending | None, key: Any, value: Coroutine[Any, Any, Any]) -> Pending:
    """Note what is to be awaited, and return all of it."""
    if pending is None:
        return [(key, value)]
    pending.append((key, value))
    return pending


async def joined(target: Any, pending: Pending) -> Any:
    """Await what is left of an object or list, all at once, and put it into its place."""
    if len(pending) == 1:
        key, value = pending[0]
        target[key] = await value
        return target
    values = await gather_with_cancel(*(value for _, value in pending))
    for (key, _), value in zip(pending, values, strict=True):
        target[key] = value
    return target


def abandon(pending: Pending | None, rest: Sequence[Any] = ()) -> None:
    """Let what was begun come to its end unheard: its object or list is null already."""
    left: list[Any] = [value for _, value in pending or ()]
    left += [each for each in rest if is_awaitable(each)]
    if left:
        future = asyncio.gather(*left, return_exceptions=True)
        _BACKGROUND.add(future)
        future.add_done_callback(_BACKGROUND.discard)
