"""What the SDL prints is what is enforced, and a field nobody thought about is never served."""

from __future__ import annotations

from typing import Any

import pytest
import strawberry
from graphql import DirectiveNode, ListValueNode, ObjectTypeDefinitionNode, parse

from api_factory.actions import Catalogue
from api_factory.errors import ConfigurationError
from schema.build import build_schema
from schema.directives import Cost, ListSize, Policy, Public, RateLimit, RequiresKey, Scope
from schema.queries import Queries

PUBLIC = {"Query.ping", "Query.actions", "Query.action", "Query.plans"}


def _value(node: Any) -> Any:
    if isinstance(node, ListValueNode):
        return [_value(each) for each in node.values]
    return int(node.value) if node.kind == "int_value" else node.value


def _arguments(directive: DirectiveNode) -> dict[str, Any]:
    return {each.name.value: _value(each.value) for each in directive.arguments or ()}


def _printed(coordinate: str, directives: Any) -> Policy:
    """Read a policy back from printed directives."""
    found = [(each.name.value, _arguments(each)) for each in directives or ()]
    keys = [set(values["scopes"]) for name, values in found if name == "requiresKey"]
    sizes = [values for name, values in found if name == "listSize"]
    return Policy(
        coordinate,
        frozenset().union(*keys) if keys else None,
        sum(values["weight"] for name, values in found if name == "cost"),
        tuple((values["limit"], values["window"]) for name, values in found if name == "rateLimit"),  # type: ignore[arg-type]
        tuple(name for size in sizes for name in size["slicingArguments"]),
        max((size["assumedSize"] for size in sizes), default=1),
    )


def test_the_policy_of_every_root_field_is_the_one_that_the_sdl_prints(guarded: Any) -> None:
    seen = 0
    for definition in parse(guarded.sdl).definitions:
        if isinstance(definition, ObjectTypeDefinitionNode) and definition.name.value in (
            "Query",
            "Mutation",
        ):
            for field in definition.fields or ():
                coordinate = f"{definition.name.value}.{field.name.value}"
                policy = guarded.rules.policies[definition.name.value][field.name.value]
                enforced = Policy(
                    policy.coordinate,
                    policy.scopes,
                    policy.weight,
                    tuple((rate.limit, rate.window_seconds) for rate in policy.rates),  # type: ignore[arg-type]
                    policy.slicing_arguments,
                    policy.assumed_size,
                )
                assert enforced == _printed(coordinate, field.directives)
                assert (policy.scopes is None) == (coordinate in PUBLIC)
                seen += 1
    root_fields = [*guarded.core.query_type.fields, *guarded.core.mutation_type.fields]
    assert seen == len(root_fields) == 34


def test_an_action_prints_its_cost_its_rates_and_its_scope(guarded: Any, catalogue: Catalogue) -> None:
    assert (
        "  ): Greeting @requiresKey(scopes: [RUN_ACTIONS]) @cost(weight: 3)"
        " @rateLimit(limit: 10, window: 1) @rateLimit(limit: 100, window: 60)\n" in guarded.sdl
    )
    assert (
        "  report: String @requiresKey(scopes: [READ_REPORTS]) @cost(weight: 1)"
        ' @deprecated(reason: "Use echo.")\n' in guarded.sdl
    )
    assert "  ping: String @public\n" in guarded.sdl
    assert "  MANAGE_BILLING\n  READ_REPORTS\n}" in guarded.sdl
    for action in catalogue:
        policy = guarded.rules.policies["Query" if action.kind == "query" else "Mutation"][action.field_name]
        assert (policy.weight, policy.rates) == (action.units, action.rates)


def test_every_directive_is_defined_applied_or_not() -> None:
    sdl = build_schema(Catalogue([])).sdl
    for name in ("requiresKey", "public", "cost", "rateLimit", "listSize"):
        assert f"directive @{name}" in sdl
    assert "directive @rateLimit(limit: Int!, window: Int!) repeatable on FIELD_DEFINITION" in sdl
    assert "directive @requiresKey(scopes: [Scope!]!) on FIELD_DEFINITION | OBJECT" in sdl


def _root(*directives: object) -> type:
    @strawberry.type(name="Query")
    class Root(Queries):
        @strawberry.field(directives=list(directives))
        def secret(self) -> str:
            return "s"

    return Root


@pytest.mark.parametrize(
    ("directives", "sentence"),
    [
        ((), "Query.secret has neither @requiresKey nor @public; say who may call it."),
        ((Cost(weight=1),), "Query.secret has neither @requiresKey nor @public; say who may call it."),
        (
            (Public(), RequiresKey(scopes=[])),
            "Query.secret has both @requiresKey and @public; keep one of them.",
        ),
    ],
)
def test_a_root_field_that_does_not_say_who_may_call_it_stops_the_start(
    directives: tuple[object, ...], sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as stopped:
        build_schema(Catalogue([]), query=_root(*directives))
    assert stopped.value.message == sentence


def test_a_root_field_of_a_mutation_must_say_it_too() -> None:
    @strawberry.type(name="Mutation")
    class Writes:
        @strawberry.mutation
        def wipe(self) -> bool:
            return True

    with pytest.raises(ConfigurationError, match=r"^Mutation\.wipe has neither"):
        build_schema(Catalogue([]), mutation=Writes)


@strawberry.type(directives=[RequiresKey(scopes=[Scope("MANAGE_KEYS")])])
class Vault:
    @strawberry.field(directives=[RequiresKey(scopes=[Scope("READ_USAGE")]), Cost(weight=2)])
    def gold(self) -> int:
        return 1


def test_a_directive_on_a_type_guards_each_of_its_fields() -> None:
    @strawberry.type(name="Query")
    class Root(Queries):
        @strawberry.field(
            directives=[
                Public(),
                RateLimit(limit=2, window=90),
                ListSize(slicing_arguments=["top"], assumed_size=7),
            ]
        )
        def vaults(self, top: int = 3) -> list[Vault]:
            return []

    policies = build_schema(Catalogue([]), query=Root).rules.policies
    assert policies["Vault"]["gold"].scopes == {"MANAGE_KEYS", "READ_USAGE"}
    assert policies["Vault"]["gold"].weight == 2
    assert policies["Query"]["vaults"].rates[0].name == "90s"
    assert policies["Query"]["vaults"].slicing_arguments == ("top",)


def test_no_type_is_left_without_policies(guarded: Any) -> None:
    for name, named in guarded.core.type_map.items():
        if hasattr(named, "fields") and name in guarded.rules.policies:
            assert set(guarded.rules.policies[name]) == set(named.fields)
    assert {"Query", "Mutation", "Node", "ApiKey", "Greeting"} <= set(guarded.rules.policies)
