"""One pass over the selected operation: what it calls, what it needs, what it can cost at most.

Fields are collected as execution collects them (GraphQL specification, CollectFields): fragments are
followed, `@skip` and `@include` are decided with the coerced variables, and selections of one response key
are one field, so that nobody is charged twice for what runs once. Below a list everything counts once for
each item; an interface counts as the dearest of its types. The result is one `Ask`, which the guard answers
before any resolver runs: all of the operation, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.values import VariableValues, get_argument_values, get_directive_values

from api_factory.actions import Action, Catalogue
from api_factory.errors import IntrospectionOff, QueryTooComplex
from api_factory.guard import Ask
from api_factory.rates import Rate
from schema.directives import Policies, Policy

MAX_STEPS: Final = 10_000
"""Most selections one pass looks at: interfaces in interfaces could multiply what a document may hold."""

SECRETS: Final = frozenset({"ApiKeySecretPayload.secret"})
"""Fields that show a secret once, so that no reply with one of them may be kept."""

_INTROSPECTION: Final = frozenset({"__schema", "__type"})
_TOLD_TO_EVERYBODY: Final = frozenset({"__typename", "kind", "name"})

Introspection: TypeAlias = Literal["keyed", "open", "off"]
"""Who may ask for more of the schema than whether a type exists."""

_Fields = dict[str, list[FieldNode]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the pass looks up: the schema, its policies, and the actions behind root fields."""

    schema: GraphQLSchema
    policies: Policies
    catalogue: Catalogue
    introspection: Introspection = "keyed"


@dataclass(frozen=True, slots=True)
class Survey:
    """What one operation asks of the guard.

    `calls` maps the response key of each action's field to its place in `ask.calls`; `cost` is the most
    units it can come to. `is_constant` says that no variable changed the outcome, so that it holds for every
    request with the same document.
    """

    ask: Ask
    calls: Mapping[str, int]
    cost: int
    is_constant: bool
    steps: int


def survey(
    rules: Rules,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: VariableValues,
    *,
    is_trusted: bool = False,
) -> Survey:
    """Walk a valid operation once.

    Raises:
        QueryTooComplex: The walk would take more than `MAX_STEPS` steps.
        IntrospectionOff: It asks for the schema, and nobody may.
    """
    walk = _Walk(rules, fragments, variables)
    root = rules.schema.get_root_type(operation.operation)
    cost = walk.root_cost(root, operation.selection_set) if root is not None else 0
    return Survey(
        ask=Ask(
            calls=tuple(walk.actions),
            scopes=frozenset(walk.scopes),
            key_required=walk.key_required,
            coordinate=walk.coordinate,
            field_rates=tuple(walk.rates),
            weight=max(1, walk.root_fields),
            is_mutation=operation.operation is OperationType.MUTATION,
            shows_secret=walk.shows_secret,
            is_trusted=is_trusted,
        ),
        calls=walk.calls,
        cost=cost,
        is_constant=walk.is_constant,
        steps=walk.steps,
    )


class _Walk:
    def __init__(
        self, rules: Rules, fragments: Mapping[str, FragmentDefinitionNode], variables: VariableValues
    ) -> None:
        self._schema = rules.schema
        self._policies = rules.policies
        self._catalogue = rules.catalogue
        self._introspection = rules.introspection
        self._fragments = fragments
        self._variables = variables
        self.actions: list[Action] = []
        self.calls: dict[str, int] = {}
        self.scopes: set[str] = set()
        self.rates: list[tuple[str, Rate]] = []
        self.key_required = False
        self.shows_secret = False
        self.coordinate: str | None = None
        self.is_constant = True
        self.root_fields = 0
        self.steps = 0

    def root_cost(self, root: GraphQLObjectType, selections: SelectionSetNode) -> int:
        cost = 0
        fields = self._collect(root, [selections])
        self.root_fields = len(fields)
        for key, nodes in fields.items():
            action = self._catalogue.by_field_name(nodes[0].name.value)
            if action is not None:
                self.calls[key] = len(self.actions)
                self.actions.append(action)
            cost += self._field_cost(root, nodes, is_action=action is not None)
        return cost

    def _cost(self, type_name: str, selections: list[SelectionSetNode]) -> int:
        named = self._schema.type_map[type_name]
        if isinstance(named, GraphQLObjectType):
            return self._object_cost(named, selections)
        possible = self._schema.get_possible_types(named) if is_abstract_type(named) else ()
        return max((self._object_cost(each, selections) for each in possible), default=0)

    def _object_cost(self, owner: GraphQLObjectType, selections: list[SelectionSetNode]) -> int:
        fields = self._collect(owner, selections)
        return sum(self._field_cost(owner, nodes, is_action=False) for nodes in fields.values())

    def _field_cost(self, owner: GraphQLObjectType, nodes: list[FieldNode], *, is_action: bool) -> int:
        node = nodes[0]
        name = node.name.value
        if name.startswith("__"):
            self._introspect(nodes)
            return 0
        policy = self._policies[owner.name][name]
        self._require(policy)
        self.shows_secret |= policy.coordinate in SECRETS
        if not is_action:
            # The guard takes an action's own rates with the call.
            self.rates += [(policy.coordinate, rate) for rate in policy.rates]
        inner = [each.selection_set for each in nodes if each.selection_set is not None]
        if not inner:
            return policy.weight
        below = get_named_type(owner.fields[name].type)
        return policy.weight + self._list_size(policy, owner, node) * self._cost(below.name, inner)

    def _require(self, policy: Policy) -> None:
        if policy.scopes is None:
            return
        self.key_required = True
        if self.coordinate is None or (policy.scopes and not self.scopes):
            self.coordinate = policy.coordinate
        self.scopes |= policy.scopes

    def _introspect(self, nodes: Iterable[FieldNode]) -> None:
        # Everybody may ask whether a type exists, as the audit of GraphQL over HTTP does; the rest of the
        # schema is for those who have a key, unless the operator has said otherwise.
        for node in nodes:
            name = node.name.value
            if name not in _INTROSPECTION or (name == "__type" and _asks_for_names_only(node)):
                continue
            if self._introspection == "off":
                raise IntrospectionOff
            if self._introspection == "keyed":
                self.key_required = True
                self.coordinate = self.coordinate or name

    def _list_size(self, policy: Policy, owner: GraphQLObjectType, node: FieldNode) -> int:
        if not policy.slicing_arguments:
            return policy.assumed_size
        given = [each for each in node.arguments or () if each.name.value in policy.slicing_arguments]
        if any(isinstance(each.value, VariableNode) for each in given):
            self.is_constant = False
        try:
            values = get_argument_values(owner.fields[node.name.value], node, self._variables)
        except GraphQLError:
            # Execution will say so at this field; it has no items then.
            return policy.assumed_size
        sizes = [values.get(name) for name in policy.slicing_arguments]
        return max((size for size in sizes if isinstance(size, int)), default=policy.assumed_size)

    def _collect(self, owner: GraphQLObjectType, selections: Iterable[SelectionSetNode]) -> _Fields:
        fields: _Fields = {}
        spread: set[str] = set()
        todo = [node for selection in selections for node in selection.selections][::-1]
        while todo:
            node = todo.pop()
            self._step()
            if node.directives and not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                fields.setdefault((node.alias or node.name).value, []).append(node)
            elif isinstance(node, (FragmentSpreadNode, InlineFragmentNode)):
                todo += reversed(self._within(node, owner, spread))
        return fields

    def _within(
        self, node: FragmentSpreadNode | InlineFragmentNode, owner: GraphQLObjectType, spread: set[str]
    ) -> tuple[SelectionNode, ...]:
        fragment: FragmentDefinitionNode | InlineFragmentNode
        if isinstance(node, FragmentSpreadNode):
            if node.name.value in spread:
                return ()
            spread.add(node.name.value)
            fragment = self._fragments[node.name.value]
        else:
            fragment = node
        return tuple(fragment.selection_set.selections) if self._applies(fragment, owner) else ()

    def _applies(
        self, fragment: FragmentDefinitionNode | InlineFragmentNode, owner: GraphQLObjectType
    ) -> bool:
        if fragment.type_condition is None:
            return True
        condition = self._schema.type_map[fragment.type_condition.name.value]
        if is_abstract_type(condition):
            return self._schema.is_sub_type(condition, owner)
        return condition is owner

    def _is_included(self, node: SelectionNode) -> bool:
        if any(_has_variable(each) for each in node.directives or ()):
            self.is_constant = False
        skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        return not (skip and skip["if"]) and not (include and not include["if"])

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise QueryTooComplex


def _has_variable(directive: DirectiveNode) -> bool:
    return any(isinstance(argument.value, VariableNode) for argument in directive.arguments or ())


def _asks_for_names_only(node: FieldNode) -> bool:
    inner = node.selection_set.selections if node.selection_set else ()
    return all(isinstance(each, FieldNode) and each.name.value in _TOLD_TO_EVERYBODY for each in inner)
