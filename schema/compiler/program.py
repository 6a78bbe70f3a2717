"""Compiled operations: when one is made, which of them a request takes, and how it is run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Final

from graphql import (
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.executor import default_field_resolver, default_type_resolver
from graphql.execution.values import VariableValues
from graphql.language import DirectiveNode, FragmentSpreadNode

from schema.compiler.emitter import Emitter, NotCompiled, Operation
from schema.compiler.runtime import State
from schema.compiler.variables import VariableReader

LOGGER = logging.getLogger("api_factory.graphql")

MAX_PROGRAMS: Final = 8
"""Most programs of one operation; each variable of `@skip` or `@include` could double them."""

BYTES_PER_FIELD: Final = 4_000
"""About what a field takes in a program: its code, its place, and its share of the functions around it."""


class Program:
    """One operation as functions of Python, for one outcome of its `@skip` and `@include`."""

    __slots__ = ("_build", "_root", "fields", "text")

    def __init__(self, root: Callable[..., Any], build: Any, emitted: Emitter) -> None:
        """Run `root`; `build` makes a graphql-core executor of the same operation."""
        self._root = root
        self._build = build
        self.fields = emitted.fields
        self.text = emitted.source.text

    async def run(self, context: object, variables: VariableValues) -> ExecutionResult:
        """Run it once, with coerced variables; errors of fields are in the result."""
        state = State(self._build, context, variables)
        try:
            data = self._root(None, None, state)
            if data.__class__ is CoroutineType:
                data = await data
        except GraphQLError as error:
            state.errors.add(error, None)
            data = None
        return ExecutionResult(data, state.errors.errors or None)


@dataclass(frozen=True, slots=True)
class Compiler:
    """Makes executors and programs of operations over one schema.

    With `is_on` false nothing is compiled and graphql-core runs everything. An operation is compiled when
    graphql-core has run it `runs_before` times: most that come once never come again.
    """

    schema: GraphQLSchema
    executor_class: type[Executor[Any]]
    max_errors: int
    is_on: bool = True
    runs_before: int = 2

    def programs(
        self, node: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> Programs:
        """Return the programs of an operation of a valid document, none of them compiled yet."""
        return Programs(self, node, dict(fragments))


class Programs:
    """One operation: the reading of its variables, and its programs as they come to be needed."""

    __slots__ = (
        "_always_given",
        "_compiler",
        "_conditions",
        "_details",
        "_fragments",
        "_made",
        "_runs",
        "fields",
        "node",
        "reader",
    )

    def __init__(
        self,
        compiler: Compiler,
        node: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
    ) -> None:
        """Look at the operation once; nothing is compiled."""
        self.node = node
        self.reader = VariableReader(compiler.schema, node, compiler.max_errors)
        self.fields = 0
        self._compiler = compiler
        self._fragments = fragments
        self._details = {name: FragmentDetails(fragment) for name, fragment in fragments.items()}
        self._always_given = {
            each.variable.name.value: isinstance(each.type, NonNullTypeNode)
            for each in node.variable_definitions or ()
        }
        self._conditions = _conditions(node, fragments)
        self._made: dict[tuple[bool, ...], Program | None] = {}
        self._runs = 0

    @property
    def size_bytes(self) -> int:
        """About the memory that its programs take."""
        return self.fields * BYTES_PER_FIELD

    async def run(self, context: object, variables: VariableValues) -> ExecutionResult:
        """Run the operation once, compiled where it is worth it; errors of fields are in the result."""
        program = self.program(variables)
        if program is not None:
            return await program.run(context, variables)
        # An ExecutionResult, or what it is awaited from: the schema delivers nothing incrementally.
        result: Any = self.interpreter(context, variables).execute_operation()
        return result if isinstance(result, ExecutionResult) else await result

    def program(self, variables: VariableValues) -> Program | None:
        """Return the program for these variables; None where graphql-core has to run them."""
        if not self._compiler.is_on:
            return None
        values = [variables.coerced.get(name) for name in self._conditions]
        outcome = tuple(value for value in values if isinstance(value, bool))
        if len(outcome) != len(values):
            # Null in a condition is an error where it stands.
            return None
        if outcome in self._made:
            return self._made[outcome]
        self._runs += 1
        if self._runs <= self._compiler.runs_before or len(self._made) >= MAX_PROGRAMS:
            return None
        program = self._made[outcome] = self._compile(variables)
        self.fields += program.fields if program is not None else 1
        return program

    def interpreter(self, context: object, variables: VariableValues) -> Executor[Any]:
        """Return graphql-core's executor for one run."""
        return self._compiler.executor_class(
            self._compiler.schema,
            self._fragments,
            self._details,
            None,
            context,
            self.node,
            variables,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            hide_suggestions=True,
        )

    def _compile(self, variables: VariableValues) -> Program | None:
        schema, node = self._compiler.schema, self.node
        root = schema.get_root_type(node.operation)
        if root is None or node.operation is OperationType.SUBSCRIPTION:
            return None
        emitter = Emitter(Operation(schema, node, self._details, variables, self._always_given))
        try:
            name = emitter.root(root, is_serial=node.operation is OperationType.MUTATION)
        except NotCompiled:
            return None
        loaded = emitter.source.load(name)
        return Program(loaded, self.interpreter, emitter)


def _conditions(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[str, ...]:
    """Return the variables that decide a `@skip` or `@include` anywhere in the operation."""
    found: dict[str, None] = {}
    spread: set[str] = set()
    todo: list[Any] = [operation]
    while todo:
        node = todo.pop()
        todo += node.selection_set.selections if getattr(node, "selection_set", None) else ()
        if isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
            spread.add(node.name.value)
            todo.append(fragments[node.name.value])
        for directive in node.directives or ():
            found |= dict.fromkeys(_variables(directive))
    return tuple(found)


def _variables(directive: DirectiveNode) -> list[str]:
    values = [each.value for each in directive.arguments or ()]
    return [value.name.value for value in values if isinstance(value, VariableNode)]
