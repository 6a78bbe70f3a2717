"""Random schemas whose resolvers misbehave, deterministically: the same seed, the same world.

A world is made from two numbers, so that a failure is told in two numbers. What a resolver does depends on
the seed of the run and on where its value stands, not on when it is asked: two executors of one operation
meet the same values, the same errors and the same waiting, as long as they ask for the same things.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from random import Random
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    Undefined,
    is_abstract_type,
    is_leaf_type,
)

RUN: ContextVar[Run] = ContextVar("RUN")

BUILT_IN = (GraphQLString, GraphQLInt, GraphQLFloat, GraphQLBoolean, GraphQLID)

# Names that generated code could stumble over; every one is a GraphQL name.
NAMES = (
    *("f0", "f1", "f2", "f3", "f4", "source", "at", "state", "data", "pending", "value", "values", "error"),
    *("class", "None", "True", "print", "v0", "place_1", "select_1", "self", "info", "_", "__"[:1] + "x"),
)


class Word(str):
    """A str that is not exactly one."""


class Whole(int):
    """An int that is not exactly one."""


class Row(list):  # type: ignore[type-arg]
    """A list that is not exactly one."""


class Refusal(Exception):
    """An error of an author's own, with what GraphQL shows beside the message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.extensions = {"code": "REFUSED"}


class Unspeakable(Exception):
    """An error that cannot even be told."""

    def __str__(self) -> str:
        raise RuntimeError("unspeakable")


class Waits:
    """Something to be awaited that is no coroutine."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start

    def __await__(self) -> Any:
        return self._start().__await__()


class Some:
    """Something to iterate over that is no list."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)


class Attribute:
    """A resolver that reads one attribute, as `schema.authored` has them."""

    def __init__(self, name: str) -> None:
        self.attribute = name
        self._get = attrgetter(name)

    def __call__(self, source: object, _info: object) -> object:
        return self._get(source)


@dataclass
class Run:
    """One run: how much trouble there is, and what happened in it, in order."""

    seed: int
    trouble: float
    log: list[Any] = field(default_factory=list)

    def random(self, *key: object) -> Random:
        """Return what decides about one place."""
        return Random(f"{self.seed}/{key}")


@dataclass
class World:
    """A schema, and what its resolvers make their values of."""

    seed: int
    size: int
    schema: GraphQLSchema
    classes: dict[str, type]

    def __repr__(self) -> str:
        return f"world({self.seed}, {self.size})"


# --- values -------------------------------------------------------------------------------------------


def produce(world: World, run: Run, type_: Any, key: str) -> Any:
    """Return what stands at a place: most of the time what is declared, now or later; sometimes trouble."""
    random = run.random(key)
    if random.random() < run.trouble:
        return random.choice(_TROUBLES)(world, run, type_, key, random)
    if random.random() < 0.2:
        return waiting(world, run, type_, key, random)
    return _fitting(world, run, type_, key, random)


def resolved(world: World, run: Run, type_: Any, key: str) -> Any:
    """Return what a coroutine returns: the same, without another coroutine."""
    random = run.random(key, "resolved")
    if random.random() < run.trouble:
        return random.choice(_TROUBLES_THAT_ARE_HERE)(world, run, type_, key, random)
    return _fitting(world, run, type_, key, random)


async def waiting(world: World, run: Run, type_: Any, key: str, random: Random) -> Any:
    """Wait up to three turns of the loop, then return or raise."""
    turns, fails = random.randrange(4), random.random() < run.trouble
    run.log.append(("waits", key))
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        run.log.append(("cancelled", key))
        raise
    run.log.append(("waited", key))
    if fails:
        raise ValueError(f"{key} failed later")
    return resolved(world, run, type_, key)


def _fitting(world: World, run: Run, type_: Any, key: str, random: Random) -> Any:
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    elif random.random() < 0.1:
        return None
    if isinstance(type_, GraphQLList):
        return _list(world, run, type_.of_type, key, random)
    if is_leaf_type(type_):
        return _leaf(type_, random)
    if is_abstract_type(type_):
        type_ = random.choice(world.schema.get_possible_types(type_))
    return thing(world, run, type_.name, key, random)


def _list(world: World, run: Run, item: Any, key: str, random: Random) -> Any:
    count = random.randrange(4)
    if random.random() < 0.75:
        made = [produce(world, run, item, f"{key}.{index}") for index in range(count)]
        return random.choice((list, list, tuple, tuple, Row, deque, Some))(made)

    def generate() -> Iterator[Any]:
        for index in range(count):
            run.log.append(("generates", key, index))
            yield produce(world, run, item, f"{key}.{index}")
        if random.random() < run.trouble:
            raise ValueError(f"{key} stopped")

    async def generate_later() -> AsyncIterator[Any]:
        for each in generate():
            await asyncio.sleep(0)
            yield each

    if random.random() < 0.5:
        return generate()
    return generate_later() if random.random() < 0.7 else {"a", "b", 3}


_LEAVES: dict[str, tuple[Any, ...]] = {
    "String": ("", "text", "\ud800", "x" * 50, Word("word"), 5, True, 0.5),
    "Int": (0, -7, 2**31 - 1, -(2**31), 2**31, 10**30, Whole(4), True, 1.0, "5", "five"),
    "Float": (0.5, -0.0, 3, 1e308, float("nan"), float("inf"), float("-inf"), True, "0.5", 10**400),
    "Boolean": (True, False, 1, 0, 1.0, "true", float("nan")),
    "ID": ("id", Word("id"), 5, 2**70, 1.0, 0.5, True),
}
_USUAL = {"String": 2, "Int": 4, "Float": 2, "Boolean": 2, "ID": 1}


def _leaf(type_: Any, random: Random) -> Any:
    if isinstance(type_, GraphQLEnumType):
        values = [each.value for each in type_.values.values()]
        return random.choice(values) if random.random() < 0.9 else random.choice(("?", None, ["list"], {}))
    choices = _LEAVES.get(type_.name)
    if choices is not None:
        return random.choice(choices[: _USUAL[type_.name]] if random.random() < 0.8 else choices)
    return random.choice(("text", 5, [1, {"a": None}], {"b": 2}, 0.5, Word("w"), b"bytes", ("t",), object))


def thing(world: World, run: Run, name: str, key: str, random: Random) -> Any:
    """Return an object of a type: of an ordinary class, or a dict that knows its type's name."""
    if random.random() < 0.7:
        return world.classes[name](run, key)
    return Lazy(world, run, name, key)


class Lazy(dict):  # type: ignore[type-arg]
    """A dict that makes its values when it is asked for them."""

    def __init__(self, world: World, run: Run, name: str, key: str) -> None:
        super().__init__(__typename=name)
        self.world, self.run, self.key, self.type_name = world, run, key, name

    def get(self, name: str, default: Any = None) -> Any:
        if name == "__typename":
            return _told_name(self.run, self.key, self.type_name)
        found = self.world.schema.type_map[self.type_name].fields.get(name)  # type: ignore[attr-defined]
        self.run.log.append(("gets", self.key, name))
        return default if found is None else produce(self.world, self.run, found.type, f"{self.key}!{name}")


def _told_name(run: Run, key: str, name: str) -> Any:
    random = run.random(key, "typename")
    is_wrong = random.random() < run.trouble / 4
    return random.choice(("T0", "Query", "N0", "Nobody", None, 5, "String", Word(name))) if is_wrong else name


def class_of(world: World, name: str, fields: list[str]) -> type:
    """Make the ordinary class of an object type; its properties make their values when they are read."""

    class Thing:
        def __init__(self, run: Run, key: str) -> None:
            self.run, self.key, self.type_name = run, key, name

    def reader(field_name: str) -> property:
        def read(self: Any) -> Any:
            declared = world.schema.type_map[name].fields[field_name].type  # type: ignore[attr-defined]
            self.run.log.append(("reads", self.key, field_name))
            return produce(world, self.run, declared, f"{self.key}!{field_name}")

        return property(read)

    for each in fields:
        setattr(Thing, f"{each}_read", reader(each))
        if each not in ("run", "key", "type_name"):
            setattr(Thing, each, reader(each))
    Thing.__name__ = Thing.__qualname__ = name
    told = property(lambda self: _told_name(self.run, self.key, name))
    setattr(Thing, f"_{name}__typename", told)
    return Thing


# --- trouble ------------------------------------------------------------------------------------------


def _raise(_world: World, _run: Run, _type: Any, key: str, random: Random) -> Any:
    raise _error(key, random)


def _error(key: str, random: Random) -> Exception:
    return random.choice(
        (
            ValueError(f"{key} is wrong"),
            Refusal(f"{key} is refused"),
            GraphQLError(f"{key} is no good"),
            GraphQLError(f"{key} is elsewhere", path=["else", "where"], extensions={"code": "ELSE"}),
            KeyError(key),
            Unspeakable(),
            RecursionError(key),
        )
    )


def _exception(_world: World, _run: Run, _type: Any, key: str, random: Random) -> Any:
    return _error(key, random)


def _absent(_world: World, _run: Run, _type: Any, _key: str, random: Random) -> Any:
    return random.choice((None, Undefined))


def _wrong(world: World, run: Run, type_: Any, key: str, random: Random) -> Any:
    made: Callable[[], Any] = random.choice(
        (
            lambda: 5,
            lambda: "text",
            lambda: [],
            lambda: {},
            lambda: [1, None],
            lambda: object,
            lambda: asyncio.Future,
            lambda: thing(world, run, random.choice(list(world.classes)), key, random),
            lambda: b"x",
            lambda: KeyboardInterrupt("a value"),
            lambda: iter(()),
        )
    )
    return made()


def _waits(world: World, run: Run, type_: Any, key: str, random: Random) -> Any:
    return Waits(lambda: waiting(world, run, type_, key, random))


def _future(world: World, run: Run, type_: Any, key: str, random: Random) -> Any:
    future = asyncio.get_running_loop().create_future()
    if random.random() < 0.3:
        asyncio.get_running_loop().call_soon(_fail, future, f"the future of {key} failed")
    else:
        value = resolved(world, run, type_, key)
        asyncio.get_running_loop().call_soon(future.set_result, value)
    return future


def _fail(future: asyncio.Future[Any], message: str) -> None:
    if not future.done():
        future.set_exception(ValueError(message))


_TROUBLES_THAT_ARE_HERE = (_raise, _exception, _absent, _wrong, _waits)
_TROUBLES = (*_TROUBLES_THAT_ARE_HERE, _raise, _exception, _absent, _future)


# --- schemas ------------------------------------------------------------------------------------------


@lru_cache(maxsize=2_000)
def world(seed: int, size: int) -> World:
    """Make a world of about `size` object types."""
    return _Maker(seed, size).make()


class _Maker:
    def __init__(self, seed: int, size: int) -> None:
        self.random = Random(seed * 100 + size)
        self.world = World(seed, size, GraphQLSchema(), {})
        self.leaves: list[Any] = [*BUILT_IN, *BUILT_IN, *_enums(self.random), *_scalars()]
        self.inputs: list[Any] = [*BUILT_IN, *BUILT_IN, *self.leaves[-3:]]
        self.outputs: list[Any] = []

    def make(self) -> World:
        for number in range(1 + self.world.size // 3):
            self.inputs.append(self.input_object(f"I{number}"))
        interfaces = [self.interface(f"N{number}") for number in range(self.world.size // 2)]
        objects = [self.object(f"T{number}", interfaces) for number in range(self.world.size)]
        unions = [
            GraphQLUnionType(f"U{number}", self.some(objects), resolve_type=self.resolve_type())
            for number in range(self.world.size // 2)
        ]
        implemented = [each for each in interfaces if any(each in type_.interfaces for type_ in objects)]
        self.outputs += [*objects, *implemented, *unions]
        roots = [GraphQLObjectType(name, self.fields(6, is_root=True)) for name in ("Query", "Mutation")]
        self.world.schema = GraphQLSchema(*roots, types=objects)
        for each in objects:
            self.world.classes[each.name] = class_of(self.world, each.name, list(each.fields))
        return self.world

    def some(self, from_: list[Any]) -> list[Any]:
        return self.random.sample(from_, self.random.randint(1, min(3, len(from_))))

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def wrapped(self, named: Any, share: float = 0.35) -> Any:
        type_ = GraphQLNonNull(named) if self.chance(share) else named
        while self.chance(0.25):
            type_ = GraphQLList(type_)
            type_ = GraphQLNonNull(type_) if self.chance(share) else type_
        return type_

    def fields(self, most: int, *, is_root: bool = False) -> Callable[[], dict[str, GraphQLField]]:
        names = self.random.sample(NAMES, self.random.randint(1, most))
        # Named types may be those that are made later.
        made: dict[str, GraphQLField] = {}

        def make() -> dict[str, GraphQLField]:
            if not made:
                made.update({name: self.field(name, is_root) for name in names})
            return made

        return make

    def field(self, name: str, is_root: bool) -> GraphQLField:
        named = self.random.choice(self.leaves if self.chance(0.5) and not is_root else self.outputs)
        type_ = self.wrapped(named)
        kind = self.random.choice(("function", "coroutine", "attribute", "default"))
        if is_root and kind in ("attribute", "default") and self.chance(0.9):
            kind = "function"
        if kind == "attribute":
            attribute = name if self.chance(0.5) else f"{name}_read"
            return GraphQLField(type_, resolve=Attribute(attribute))
        arguments = {
            each: self.argument() for each in self.random.sample(NAMES, self.random.choice((0, 0, 1, 3)))
        }
        resolve = {"function": function, "coroutine": coroutine, "default": lambda *_: None}[kind]
        return GraphQLField(type_, arguments, resolve=resolve(self.world, type_))

    def argument(self) -> GraphQLArgument:
        type_ = self.wrapped(self.random.choice(self.inputs), 0.25)
        out_name = self.random.choice((None, None, None, None, "renamed", "in", "a-b", "\ufb01eld"))
        if self.chance(0.4):
            return GraphQLArgument(type_, default_value=internal(type_, self.random), out_name=out_name)
        return GraphQLArgument(type_, out_name=out_name)

    def input_object(self, name: str) -> GraphQLInputObjectType:
        members = {}
        for each in self.random.sample(NAMES, self.random.randint(1, 3)):
            type_ = self.wrapped(self.random.choice(self.inputs), 0.25)
            default = internal(type_, self.random) if self.chance(0.3) else Undefined
            out_name = "renamed" if self.chance(0.2) and not members else None
            members[each] = GraphQLInputField(type_, default_value=default, out_name=out_name)
        return GraphQLInputObjectType(name, members)

    def interface(self, name: str) -> GraphQLInterfaceType:
        return GraphQLInterfaceType(name, self.fields(2), resolve_type=self.resolve_type())

    def object(self, name: str, interfaces: list[Any]) -> GraphQLObjectType:
        chosen = self.some(interfaces) if interfaces and self.chance(0.7) else []
        own = self.fields(5)

        def fields() -> dict[str, GraphQLField]:
            found = dict(own())
            for each in chosen:
                found |= each.fields
            return found

        # Two interfaces may declare one name with two types; then only the first is kept.
        chosen = chosen[:1]
        return GraphQLObjectType(name, fields, chosen, is_type_of=self.is_type_of(name))

    def resolve_type(self) -> Any:
        kind = self.random.choice(("default", "function", "coroutine", "awaitable"))
        return None if kind == "default" else type_resolver(kind)

    def is_type_of(self, name: str) -> Any:
        kind = self.random.choice(("none", "none", "none", "function", "coroutine", "truthy"))
        return None if kind == "none" else type_predicate(kind, name)


def _enums(random: Random) -> list[GraphQLEnumType]:
    colours = {"RED": 1, "GREEN": "green", "BLUE": ("b", 2), "NONE": None}
    return [
        GraphQLEnumType("E0", dict(list(colours.items())[: random.randint(2, 4)])),
        GraphQLEnumType("E1", {"A": "A", "B": "B"}),
    ]


def _scalars() -> list[GraphQLScalarType]:
    def fussy(value: Any) -> Any:
        RUN.get().log.append(("writes", repr(value)[:30]))
        if isinstance(value, str):
            return {"text": None, "w": Undefined}.get(value, value)
        if isinstance(value, float):
            raise ValueError("no floats here")
        return value

    def slow(value: Any) -> Any:
        async def write() -> Any:
            RUN.get().log.append(("written", repr(value)[:30]))
            await asyncio.sleep(0)
            if isinstance(value, float):
                raise ValueError("no floats here")
            return value

        if isinstance(value, dict):
            return Waits(write)
        return write() if isinstance(value, (str, float)) else value

    return [
        GraphQLScalarType("Free"),
        GraphQLScalarType("Fussy", coerce_output_value=fussy, coerce_input_value=_fussy_input),
        GraphQLScalarType("Slow", coerce_output_value=slow),
    ]


def _fussy_input(value: Any) -> Any:
    if value == "bad":
        raise GraphQLError("Fussy is bad")
    if value == "worse":
        raise ValueError("Fussy is worse")
    return [value] if isinstance(value, int) else value


def internal(type_: Any, random: Random) -> Any:
    """Return a default as Python has it."""
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    elif random.random() < 0.2:
        return None
    if isinstance(type_, GraphQLList):
        return [internal(type_.of_type, random) for _ in range(random.randrange(3))]
    if isinstance(type_, GraphQLEnumType):
        return random.choice([each.value for each in type_.values.values()])
    if isinstance(type_, GraphQLInputObjectType):
        return {name: internal(each.type, random) for name, each in type_.fields.items()}
    usual = {"String": "text", "Int": 5, "Float": 0.5, "Boolean": True, "ID": "id"}
    return usual.get(type_.name, [1])


def function(world: World, type_: Any) -> Any:
    """Return a resolver that is a function."""

    def resolve(_source: Any, info: Any, **arguments: Any) -> Any:
        run, key = _began(info, arguments)
        return produce(world, run, type_, key)

    return resolve


def coroutine(world: World, type_: Any) -> Any:
    """Return a resolver that is a coroutine."""

    async def resolve(_source: Any, info: Any, **arguments: Any) -> Any:
        run, key = _began(info, arguments)
        return await waiting(world, run, type_, key, run.random(key))

    return resolve


def _began(info: Any, arguments: dict[str, Any]) -> tuple[Run, str]:
    run: Run = info.context
    key = "/".join(map(str, info.path.as_list()))
    told = (info.field_name, str(info.parent_type), str(info.return_type), info.path.typename)
    run.log.append(("begins", key, told, repr(arguments)))
    return run, key


def type_resolver(kind: str) -> Any:
    """Return a function, or something to await, that names a value's type; not always rightly."""

    def name(value: Any, info: Any) -> Any:
        run: Run = info.context
        run.log.append(("which", getattr(value, "key", "?"), info.path.key))
        random = run.random("which", getattr(value, "key", "?"))
        if random.random() < run.trouble / 4:
            raise ValueError("which is it")
        return _told_name(run, getattr(value, "key", "?"), getattr(value, "type_name", None))  # type: ignore[arg-type]

    async def name_later(value: Any, info: Any) -> Any:
        await asyncio.sleep(0)
        return name(value, info)

    if kind == "function":
        return lambda value, info, _abstract: name(value, info)
    if kind == "coroutine":
        return lambda value, info, _abstract: name_later(value, info)
    return lambda value, info, _abstract: Waits(lambda: name_later(value, info))


def type_predicate(kind: str, type_name: str) -> Any:
    """Return a function, or a coroutine function, that tells whether a value is of a type; mostly rightly."""

    def answer(value: Any, info: Any) -> Any:
        run: Run = info.context
        run.log.append(("is", type_name, getattr(value, "key", "?"), info.path.key))
        random = run.random("is", type_name, getattr(value, "key", "?"))
        is_one = getattr(value, "type_name", None) == type_name
        if random.random() < run.trouble / 4:
            if random.random() < 0.5:
                raise ValueError("is it one")
            is_one = not is_one
        return is_one if kind != "truthy" else ["yes"] * is_one

    async def answer_later(value: Any, info: Any) -> Any:
        await asyncio.sleep(0)
        return answer(value, info)

    return answer_later if kind == "coroutine" else answer
