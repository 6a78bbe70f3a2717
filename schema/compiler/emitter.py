"""From selections to functions of Python: one for each object that is selected from, one for each list.

The functions do what graphql-core's executor does at the same place, in the same order; the structure of
what is awaited is the same as well, down to which values share a `gather`, so that concurrent resolvers
meet each other as they would there. README.md shows what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    is_abstract_type,
    is_leaf_type,
)
from graphql.execution.collect_fields import (
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.executor import default_field_resolver, default_type_resolver
from graphql.execution.values import VariableValues
from graphql.pyutils import is_awaitable

from schema.compiler.arguments import is_plain_name, keywords
from schema.compiler.runtime import LISTS, PLAIN, Place, abandon, joined, later
from schema.compiler.source import Source, indented, quoted

MAX_FIELDS: Final = 500
"""Most fields of one program; interfaces in interfaces could multiply what a document holds."""

# What a value of a built-in scalar must not be for the reply to take it as it is. `v - v` is 0.0 for every
# float but the infinities and NaN.
_UNUSUAL: Final[Mapping[str, str]] = {
    "String": "{v}.__class__ is not str",
    "ID": "{v}.__class__ is not str",
    "Boolean": "{v}.__class__ is not bool",
    "Int": "{v}.__class__ is not int or not -2147483648 <= {v} <= 2147483647",
    "Float": "{v}.__class__ is not float or {v} - {v} != 0.0",
}
_GLOBALS: Final[dict[str, object]] = {
    "CoroutineType": CoroutineType,
    "LISTS": LISTS,
    "PLAIN": PLAIN,
    "abandon": abandon,
    "is_awaitable": is_awaitable,
    "joined": joined,
    "later": later,
}


class NotCompiled(Exception):
    """The operation holds something that is left to graphql-core."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is compiled: an operation whose `@skip` and `@include` are decided by `variables`."""

    schema: GraphQLSchema
    node: OperationDefinitionNode
    fragments: dict[str, FragmentDetails]
    variables: VariableValues
    always_given: Mapping[str, bool]
    """Of each variable, whether it has a value other than null in every run."""


class Emitter:
    """Writes one operation down; `root` is called once."""

    def __init__(self, operation: Operation) -> None:
        """Start an empty text."""
        self.source = Source(_GLOBALS)
        self.fields = 0
        self._operation = operation
        self._objects: dict[tuple[str, int], str] = {}
        self._lists: dict[tuple[int, int], str] = {}

    def root(self, root: GraphQLObjectType, *, is_serial: bool) -> str:
        """Write the operation down and return the name of its function.

        Raises:
            NotCompiled: It holds introspection, a directive of its own, or too many fields.
        """
        operation = self._operation
        if operation.node.directives:
            raise NotCompiled
        grouped, _, _ = collect_fields(
            operation.schema, operation.fragments, operation.variables, root, operation.node, True
        )
        return self._serial(root, grouped) if is_serial else self._object(root, grouped)

    def _object(self, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> str:
        name = self.source.new_name("select")
        lines, shown = [], []
        for number, (key, details) in enumerate(grouped.items()):
            value = f"v{number}"
            shown.append(f"{quoted(key)}: {value}")
            later = f"pending = later(pending, {quoted(key)}, {value})"
            lines += self._field(parent, key, details, value, _Awaited("", (later,)))
        lines.append(f"data = {{{', '.join(shown)}}}")
        # What has been begun when a non-null field takes the object away must not be left hanging.
        lines = ["try:", *indented(lines), "except Exception:", "    abandon(pending)", "    raise"]
        lines = ["pending = None", *lines, "return data if pending is None else joined(data, pending)"]
        self.source.add(f"def {name}(source, at, state):", [*_values(lines), *lines])
        return name

    def _serial(self, root: GraphQLObjectType, grouped: GroupedFieldSet) -> str:
        name = self.source.new_name("select")
        lines = ["data = {}"]
        for key, details in grouped.items():
            lines += self._field(root, key, details, "value", _Awaited(""))
            # What awaiting raises is no error of this field: that one has been dealt with below.
            lines += [*_Awaited("await ").lines("value", "value"), f"data[{quoted(key)}] = value"]
        body = [*_values(lines), *lines, "return data"]
        self.source.add(f"async def {name}(source, at, state):", body)
        return name

    def _field(
        self, parent: GraphQLObjectType, key: str, details: FieldDetailsList, value: str, awaited: _Awaited
    ) -> list[str]:
        place = self._place(parent, details)
        if place is None:
            return [f"{value} = {quoted(parent.name)}"]
        spot = _Spot(place, self.source.bind(place, "place"), f"(at, {quoted(key)}, {quoted(parent.name)})")
        attribute = attribute_of(place.field)
        if attribute is not None:
            lines = [f"{value} = source.{attribute}", *self._completion(place.type, spot, value, awaited)]
        else:
            resolve = place.field.resolve or default_field_resolver
            given = keywords(place, spot.name, self.source.bind, self._operation.always_given)
            call = (
                f"{self.source.bind(resolve, 'resolve')}(source, {spot.name}.info({spot.at}, state){given})"
            )
            finish = awaited.lines(value, f"{self._finish(spot)}({value}, {spot.at}, state)")
            lines = [f"{value} = {call}", *finish]
            # A function that is marked as one of coroutines may still return what is none.
            is_async = iscoroutinefunction(resolve)
            here = (
                spot.rescued(value, awaited)
                if is_async
                else self._completion(place.type, spot, value, awaited)
            )
            lines += ["else:", *indented(here)]
        return [
            "try:",
            *indented(lines),
            "except Exception as error:",
            f"    {value} = {spot.name}.caught(error, {spot.at}, state)",
        ]

    def _place(self, parent: GraphQLObjectType, details: FieldDetailsList) -> Place | None:
        """Return the place of a field; None for `__typename`, which is known already."""
        self.fields += 1
        if self.fields > MAX_FIELDS:
            raise NotCompiled
        name = details[0].node.name.value
        if name == "__typename":
            return None
        field = parent.fields.get(name)
        if field is None:
            # Introspection: rare, and a world of its own.
            raise NotCompiled
        return Place(parent, field, details, field.type)

    def _finish(self, spot: _Spot) -> str:
        """Write the function that awaits what a resolver returned, and completes it."""
        name = self.source.new_name("finish")
        inner = _Spot(spot.place, spot.name, "at", is_awaited=True)
        completion = self._completion(spot.place.type, inner, "value", _Awaited("await "))
        lines = ["value = await value", *completion]
        caught = ["except Exception as error:", f"    return {spot.name}.caught(error, at, state)"]
        body = ["try:", *indented(lines), *caught, "return value"]
        self.source.add(f"async def {name}(value, at, state):", body)
        return name

    def _completion(
        self, declared: GraphQLOutputType, spot: _Spot, value: str, awaited: _Awaited
    ) -> list[str]:
        """Return the lines that complete a value in place; `awaited` is what becomes of a coroutine."""
        is_non_null = isinstance(declared, GraphQLNonNull)
        named: Any = declared.of_type if isinstance(declared, GraphQLNonNull) else declared
        settle, rescue = spot.settled(value, awaited), spot.rescued(value, awaited)
        unusual = _UNUSUAL.get(str(named))
        if unusual is not None:
            nullable = "" if is_non_null else f"{value} is not None and "
            return [f"if {nullable}({unusual.format(v=value)}):", *indented(rescue)]
        if is_leaf_type(named):
            lines = self._leaf(named, spot, value, awaited)
        elif isinstance(named, GraphQLList):
            items = self._items(named.of_type, spot.place)
            lines = [f"if {value}.__class__ in LISTS:", f"    {value} = {items}({value}, {spot.at}, state)"]
            lines += [*indented(settle), "else:", *indented(rescue)]
        elif is_abstract_type(named):
            lines = self._abstract(named, spot, value, awaited)
        else:
            select = self._typed(named, spot.place)
            lines = [f"if {value}.__class__ in PLAIN:", f"    {value} = {select}({value}, {spot.at}, state)"]
            lines += [*indented(settle), "else:", *indented(rescue)]
        return lines if is_non_null else [f"if {value} is not None:", *indented(lines)]

    def _leaf(self, named: Any, spot: _Spot, value: str, awaited: _Awaited) -> list[str]:
        written = self.source.bind(named.coerce_output_value, "written")
        return [
            f"if {value}.__class__ in PLAIN:",
            f"    leaf = {written}({value})",
            "    if leaf.__class__ in PLAIN:",
            f"        {value} = leaf",
            "    else:",
            f"        {value} = {spot.name}.written(leaf, {value})",
            *indented(indented(spot.settled(value, awaited))),
            "else:",
            *indented(spot.rescued(value, awaited)),
        ]

    def _abstract(self, named: Any, spot: _Spot, value: str, awaited: _Awaited) -> list[str]:
        possible = self._operation.schema.get_possible_types(named)
        functions = ", ".join(f"{quoted(each.name)}: {self._typed(each, spot.place)}" for each in possible)
        choose = self.source.new_name("choose")
        kind = self.source.bind(named, "kind")
        resolve_type = self.source.bind(named.resolve_type or default_type_resolver, "resolve_type")
        self.source.add(
            f"def {choose}(value, at, state):",
            [
                f"name = {resolve_type}(value, {spot.name}.info(at, state), {kind})",
                f"select = {{{functions}}}.get(name) if name.__class__ is str else None",
                f"return select(value, at, state) if select else {spot.name}.typed(name, value, at, state)",
            ],
        )
        return [
            f"if {value}.__class__ in PLAIN:",
            f"    {value} = {choose}({value}, {spot.at}, state)",
            *indented(spot.settled(value, awaited)),
            "else:",
            *indented(spot.rescued(value, awaited)),
        ]

    def _typed(self, named: GraphQLObjectType, place: Place) -> str:
        """Return the function for an object of this type, which asks `is_type_of` first if there is one."""
        memo = (named.name, id(place.details))
        if memo not in self._objects:
            operation = self._operation
            grouped, _, _ = collect_subfields(
                operation.schema,
                operation.fragments,
                operation.variables,
                operation.node,
                named,
                place.details,
                True,
            )
            select = self._object(named, grouped)
            self._objects[memo] = self._asked(named, place, select) if named.is_type_of else select
        return self._objects[memo]

    def _asked(self, named: GraphQLObjectType, place: Place, select: str) -> str:
        name, later = self.source.new_name("typed"), self.source.new_name("typed_later")
        is_type_of = self.source.bind(named.is_type_of, "is_type_of")
        agree = f"{self.source.bind(place, 'place')}.agree"
        kind = self.source.bind(named, "kind")
        self.source.add(
            f"async def {later}(answer, value, at, state):",
            [
                f"{agree}(await answer, {kind}, value)",
                f"value = {select}(value, at, state)",
                *_Awaited("await ").lines("value", "value"),
                "return value",
            ],
        )
        self.source.add(
            f"def {name}(value, at, state):",
            [
                f"answer = {is_type_of}(value, {agree.removesuffix('.agree')}.info(at, state))",
                "if answer is not True:",
                "    if is_awaitable(answer):",
                f"        return {later}(answer, value, at, state)",
                f"    {agree}(answer, {kind}, value)",
                f"return {select}(value, at, state)",
            ],
        )
        return name

    def _items(self, declared: GraphQLOutputType, around: Place) -> str:
        """Return the function that completes the items of a list."""
        memo = (id(around.details), id(declared))
        if memo not in self._lists:
            self._lists[memo] = self._items_function(declared, around)
        return self._lists[memo]

    def _items_function(self, declared: GraphQLOutputType, around: Place) -> str:
        name = self.source.new_name("items")
        place = Place(around.parent, around.field, around.details, declared)
        spot = _Spot(place, self.source.bind(place, "place"), "(at, index, None)")
        awaited = _Awaited("", ("pending = later(pending, index, value)",))
        lines = [
            "for index, value in enumerate(items):",
            "    try:",
            *indented(indented(self._completion(declared, spot, "value", awaited))),
            "    except Exception as error:",
            f"        value = {spot.name}.caught(error, {spot.at}, state)",
            "    add(value)",
        ]
        rest = "abandon(pending, list(items)[index + 1 :])"
        lines = ["try:", *indented(lines), "except Exception:", f"    {rest}", "    raise"]
        head = ["pending = None", "data = []", "add = data.append"]
        tail = ["return data if pending is None else joined(data, pending)"]
        self.source.add(f"def {name}(items, at, state):", [*head, *lines, *tail])
        return name


@dataclass(frozen=True, slots=True)
class _Spot:
    # A place, the name it is bound to, and how generated code writes its path.
    place: Place
    name: str
    at: str
    is_awaited: bool = False
    """The value has been awaited, inside of a function that cares for the errors of the place."""

    def rescued(self, value: str, awaited: _Awaited) -> list[str]:
        how = "complete" if self.is_awaited else "rescue"
        return [f"{value} = {self.name}.{how}({value}, {self.at}, state)", *awaited.lines(value, value)]

    def settled(self, value: str, awaited: _Awaited) -> list[str]:
        care = value if self.is_awaited else f"{self.name}.settled({value}, {self.at}, state)"
        return awaited.lines(value, care)


@dataclass(frozen=True, slots=True)
class _Awaited:
    # What becomes of a coroutine: awaited on the spot, or kept for later by the lines `after` it.
    how: str
    after: tuple[str, ...] = ()

    def lines(self, value: str, coroutine: str) -> list[str]:
        body = list(self.after)
        if self.how or coroutine != value:
            body.insert(0, f"{value} = {self.how}{coroutine}")
        return [f"if {value}.__class__ is CoroutineType:", *indented(body)] if body else []


def _values(lines: list[str]) -> list[str]:
    return ["values = state.values"] if any("values" in line for line in lines) else []


def attribute_of(field: GraphQLField) -> str | None:
    """Return the attribute that a field's resolver reads, and nothing else; None for other resolvers."""
    attribute: Any = getattr(field.resolve, "attribute", None)
    if attribute is None and getattr(field.resolve, "__name__", "") == "_get_basic_result":
        # Strawberry's resolver of a field that has none, and no permission, extension or handler either.
        definition: Any = field.extensions.get("strawberry-definition")
        if definition is not None and definition.default_resolver is getattr:
            attribute = definition.python_name
    return attribute if isinstance(attribute, str) and not field.args and is_plain_name(attribute) else None
