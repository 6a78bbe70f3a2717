"""Random valid documents over any schema, and variables for them, right and wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
    parse,
    type_from_ast,
    validate,
)

LITERALS: Mapping[str, tuple[str, ...]] = {
    "String": ('"text"', '""', '"\\u0027); import os #"', '"""block {value}"""'),
    "Int": ("5", "0", "-2147483648"),
    "Float": ("0.5", "3", "-1e10"),
    "Boolean": ("true", "false"),
    "ID": ('"id"', "7"),
    "Free": ("5", '"free"', "[1, {a: null}]", "{b: 2}", "LOUD", "0.5"),
    "Fussy": ('"fussy"', '"bad"', "5", '"worse"'),
    "Slow": ('"slow"', "5"),
    "BigInt": ("5", "9007199254740993"),
    "Date": ('"2026-01-31"',),
    "DateTime": ('"2026-01-31T12:00:00Z"', '"2026-01-31T12:00:00+02:00"'),
    "Decimal": ("1.50", '"2.25"', "7"),
    "JSON": ("5", '"text"', "[1, {a: null}]", "LOUD", "null"),
    "Time": ('"12:30:00"',),
    "UUID": ('"01890a5d-ac96-774b-bcce-b302099a8057"',),
}
VALUES: Mapping[str, tuple[Any, ...]] = {
    "String": ("text", "", "\x00", 5, None, ["a"]),
    "Int": (5, 2**31 - 1, 2**31, 5.0, 0.5, "5", True),
    "Float": (0.5, 3, 1e308, float("inf"), "0.5", False),
    "Boolean": (True, False, 1, "true"),
    "ID": ("id", 7, 0.5, True),
    "BigInt": (5, 2**60, 2**70, "5"),
    "Date": ("2026-01-31", "2026-02-28", "2026-02-30", 5),
    "DateTime": ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+02:00", "yesterday"),
    "Decimal": ("1.50", 7, "much"),
    "Time": ("12:30:00", "23:59:59", "noon"),
    "UUID": ("01890a5d-ac96-774b-bcce-b302099a8057", "00000000-0000-0000-0000-000000000001", "none"),
}


@dataclass
class Writer:
    """Writes one document; every choice is the generator's."""

    schema: GraphQLSchema
    random: Random
    literals: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: LITERALS)
    skipped: frozenset[str] = frozenset()
    """Names of fields that are left out."""
    variables: dict[str, str] = field(default_factory=dict)
    fragments: dict[str, tuple[str, str]] = field(default_factory=dict)
    room: int = 30
    names: int = 0

    def document(self, kind: str) -> str:
        """Write an operation of a kind, and the fragments it spreads."""
        root = self.schema.query_type if kind == "query" else self.schema.mutation_type
        body = self._selections(root, 0)
        declared = ", ".join(f"${name}: {type_}" for name, type_ in self.variables.items())
        head = f"{kind} Op{f'({declared})' if declared else ''}"
        fragments = [f"fragment {name} on {on} {body}" for name, (on, body) in self.fragments.items()]
        return "\n".join([f"{head} {body}", *fragments])

    def _chance(self, share: float) -> bool:
        return self.random.random() < share

    def _name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def _selections(self, type_: Any, depth: int) -> str:
        count = self.random.randint(1, 4)
        parts = [self._selection(type_, depth) for _ in range(count)]
        return "{ " + " ".join(parts) + " }"

    def _selection(self, type_: Any, depth: int) -> str:
        self.room -= 1
        fields = [] if isinstance(type_, GraphQLUnionType) else [*type_.fields.items()]
        fields = [(name, each) for name, each in fields if name not in self.skipped]
        if depth > 5 or self.room < 0:
            fields = [(name, each) for name, each in fields if is_leaf_type(get_named_type(each.type))]
        if self._chance(0.1) or (not fields and (depth > 5 or self.room < 0 or self._chance(0.4))):
            alias = f"{self._name('n')} : " if self._chance(0.4) else ""
            return f"{alias}__typename{self._directives()}"
        if not fields or self._chance(0.25):
            return self._fragment(type_, depth)
        return self._field(*self.random.choice(fields), depth)

    def _field(self, name: str, declared: Any, depth: int) -> str:
        arguments = self._arguments(declared.args)
        named = get_named_type(declared.type)
        # Two fields of one key have to be the same field: an alias tells them apart, most of the time.
        is_apart = self._chance(0.3 if not arguments else 0.9)
        alias = f"{self._name('a')}: " if is_apart else ""
        below = self._selections(named, depth + 1) if is_composite_type(named) else ""
        return f"{alias}{name}{arguments}{self._directives()} {below}".rstrip()

    def _fragment(self, type_: Any, depth: int) -> str:
        on = self._condition(type_)
        known = [name for name, (condition, _) in self.fragments.items() if condition == on.name]
        if known and self._chance(0.5):
            return f"...{self.random.choice(known)}{self._directives()}"
        body = self._selections(on, depth + 1)
        if self._chance(0.5):
            name = self._name("F")
            self.fragments[name] = (on.name, body)
            return f"...{name}{self._directives()}"
        condition = "" if on is type_ and self._chance(0.5) else f" on {on.name}"
        return f"...{condition}{self._directives()} {body}"

    def _condition(self, type_: Any) -> Any:
        possible = self.schema.get_possible_types(type_) if is_abstract_type(type_) else [type_]
        wider = [
            each
            for each in self.schema.type_map.values()
            if is_abstract_type(each) and set(self.schema.get_possible_types(each)) & set(possible)  # type: ignore[arg-type]
        ]
        return self.random.choice([type_, *possible, *wider])

    def _directives(self) -> str:
        if self._chance(0.88):
            return ""
        name = self.random.choice(("skip", "include"))
        value = (
            self._variable_of("Boolean", True) if self._chance(0.6) else self.random.choice(("true", "false"))
        )
        return f" @{name}(if: {value})"

    def _arguments(self, declared: Mapping[str, Any]) -> str:
        parts = []
        for name, argument in declared.items():
            if not is_required_argument(argument) and self._chance(0.4):
                continue
            has_default = argument.default_value is not None and not is_required_argument(argument)
            parts.append(f"{name}: {self._value(argument.type, has_default=has_default)}")
        return f"({', '.join(parts)})" if parts else ""

    def _value(self, type_: Any, *, has_default: bool = False, is_constant: bool = False) -> str:
        if not is_constant and self._chance(0.35):
            is_non_null = isinstance(type_, GraphQLNonNull)
            return self._variable_of(str(type_).removesuffix("!"), is_non_null, type_)
        if isinstance(type_, GraphQLNonNull):
            type_ = type_.of_type
        elif self._chance(0.12):
            return "null"
        if isinstance(type_, GraphQLList):
            if self._chance(0.15):
                return self._value(type_.of_type, is_constant=True)
            items = [
                self._value(type_.of_type, is_constant=is_constant) for _ in range(self.random.randrange(3))
            ]
            return f"[{', '.join(items)}]"
        if isinstance(type_, GraphQLInputObjectType):
            return self._object(type_, is_constant)
        if isinstance(type_, GraphQLEnumType):
            return self.random.choice(list(type_.values))
        return self.random.choice(self.literals[type_.name])

    def _object(self, type_: GraphQLInputObjectType, is_constant: bool) -> str:
        members = [
            f"{name}: {self._value(each.type, is_constant=is_constant)}"
            for name, each in type_.fields.items()
            if is_required_input_field(each) or self._chance(0.6)
        ]
        return "{" + ", ".join(members) + "}"

    def _variable_of(self, text: str, is_non_null: bool, type_: Any = None) -> str:
        declared = self.random.choice((f"{text}!", text)) if not is_non_null else f"{text}!"
        if is_non_null and self._chance(0.4):
            declared = text
        same = [name for name, each in self.variables.items() if each == declared]
        if same and self._chance(0.4):
            return f"${self.random.choice(same)}"
        needs_default = is_non_null and not declared.endswith("!")
        if needs_default or self._chance(0.3):
            inner = type_ if type_ is not None else self.schema.type_map["Boolean"]
            declared += (
                f" = {self._default(inner, may_be_null=not needs_default and not declared.endswith('!'))}"
            )
        name = f"v{len(self.variables)}"
        self.variables[name] = declared
        return f"${name}"

    def _default(self, type_: Any, *, may_be_null: bool) -> str:
        inner = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        written = self._value(type_ if may_be_null else GraphQLNonNull(inner), is_constant=True)
        return written


def write(
    schema: GraphQLSchema, random: Random, kind: str, **options: Any
) -> tuple[str, DocumentNode] | None:
    """Return a valid document and its text; None where the attempts came to nothing."""
    for _ in range(6):
        text = Writer(schema, random, **options).document(kind)
        node = parse(text)
        if not validate(schema, node):
            return text, node
    return None


def variables_for(schema: GraphQLSchema, node: DocumentNode, random: Random, wrong: float) -> dict[str, Any]:
    """Return variables as JSON has them: given, null or left out; `wrong` is the share of the wrong ones."""
    given: dict[str, Any] = {}
    for each in node.definitions[0].variable_definitions or ():  # type: ignore[union-attr]
        type_ = type_from_ast(schema, each.type)
        is_needed = isinstance(type_, GraphQLNonNull) and each.default_value is None
        if random.random() < (wrong if is_needed else 0.3):
            continue
        given[each.variable.name.value] = json_value(type_, random, wrong)
    return given


def json_value(type_: Any, random: Random, wrong: float) -> Any:
    """Return a value for an input type."""
    if random.random() < wrong:
        return random.choice((None, "wrong", 5, [], {}, {"nothing": 1}, [[None]], True))
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    elif random.random() < 0.15:
        return None
    if isinstance(type_, GraphQLList):
        if random.random() < 0.15:
            return json_value(type_.of_type, random, wrong)
        return [json_value(type_.of_type, random, wrong) for _ in range(random.randrange(3))]
    if isinstance(type_, GraphQLInputObjectType):
        return {
            name: json_value(each.type, random, wrong)
            for name, each in type_.fields.items()
            if is_required_input_field(each) or random.random() < 0.6
        }
    if isinstance(type_, GraphQLEnumType):
        return random.choice(list(type_.values))
    usual = VALUES.get(type_.name, ("text", 5, [1], {"a": None}))
    return random.choice(usual if random.random() < wrong else usual[:2])
