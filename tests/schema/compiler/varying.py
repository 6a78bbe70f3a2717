"""Changes to a valid document that leave it valid, most of the time: the caller validates it again."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLSchema,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    is_input_type,
    parse,
    parse_type,
    print_ast,
    value_from_ast_untyped,
    visit,
)
from graphql.language import (
    ArgumentNode,
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    InlineFragmentNode,
    NameNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableDefinitionNode,
    VariableNode,
)


def vary(
    schema: GraphQLSchema, document: DocumentNode, random: Random
) -> tuple[DocumentNode, dict[str, Any]]:
    """Return the changed document, written and read again, and the variables that give it its literals."""
    types = TypeInfo(schema)
    varied = _Vary(random, types)
    changed = visit(document, TypeInfoVisitor(types, varied))
    return parse(print_ast(changed)), varied.variables


class _Vary(Visitor):
    def __init__(self, random: Random, types: TypeInfo) -> None:
        super().__init__()
        self.random, self.types = random, types
        self.definitions: list[VariableDefinitionNode] = []
        self.variables: dict[str, Any] = {}

    def leave_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> Any:
        return replace(node, variable_definitions=tuple(self.definitions))

    def leave_argument(self, node: ArgumentNode, *_: Any) -> Any:
        argument = self.types.get_argument()
        if argument is None or isinstance(node.value, VariableNode) or self.random.random() < 0.5:
            return None
        is_null = isinstance(node.value, NullValueNode)
        name = f"v{len(self.definitions)}"
        text = str(argument.type)
        if not is_null and self.random.random() < 0.5:
            text = text.removesuffix("!") + "!"
        assert is_input_type(argument.type)
        self.variables[name] = value_from_ast_untyped(node.value)
        self._declare(name, text)
        return ArgumentNode(name=node.name, value=VariableNode(name=NameNode(value=name)))

    def leave_field(self, node: FieldNode, *_: Any) -> Any:
        choice = self.random.random()
        if choice < 0.15:
            return replace(node, alias=NameNode(value=f"{node.name.value}_again"))
        if choice < 0.3:
            return InlineFragmentNode(
                directives=(), selection_set=SelectionSetNode(selections=(node, *([node] * (choice < 0.2))))
            )
        if choice < 0.4:
            return replace(node, directives=(self._directive(),))
        return None

    def _directive(self) -> DirectiveNode:
        name, value = self.random.choice(("skip", "include")), self.random.random() < 0.5
        given: Any = BooleanValueNode(value=value)
        if self.random.random() < 0.6:
            variable = f"v{len(self.definitions)}"
            self.variables[variable] = value
            self._declare(variable, "Boolean!")
            given = VariableNode(name=NameNode(value=variable))
        return DirectiveNode(
            name=NameNode(value=name), arguments=(ArgumentNode(name=NameNode(value="if"), value=given),)
        )

    def _declare(self, name: str, text: str) -> None:
        variable = VariableNode(name=NameNode(value=name))
        self.definitions.append(
            VariableDefinitionNode(variable=variable, type=parse_type(text), directives=())
        )
