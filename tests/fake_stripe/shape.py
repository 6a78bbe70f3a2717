"""The shape guard: what the installed stripe package's own annotations say of an object, held against JSON.

A field that is not Optional has to be there, a field that the class does not know must not be, every value
has the type that is written, and a word is one of those that the Literal lists, even where the enum is open.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import stripe

_ROOT = Path(stripe.__file__).parent
_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "Decimal": (str,),
}
_LISTS = {"ListObject", "SearchResultObject"}
_MAPPINGS = {"UntypedStripeObject", "Dict", "dict", "StripeObject"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A class of the package: its fields with their annotations, and the classes written inside it."""

    name: str
    fields: dict[str, ast.expr]
    nested: dict[str, ast.ClassDef]


def problems(value: Any, place: str = "") -> list[str]:
    """Return what is wrong with the shape of an object, a list of them, or an event; empty if nothing is."""
    if not isinstance(value, dict) or "object" not in value:
        return [f"{place or 'it'} is no object"]
    kind = value["object"]
    if kind == "list":
        return _list(value, place)
    if value.get("deleted") is True:
        return [] if value.keys() == {"id", "object", "deleted"} else [f"{place} is deleted and says more"]
    shape = shapes().get(kind)
    if shape is None:
        return [f"{place or 'it'} is a {kind}, which the package does not know"]
    found = _fields(value, shape, place or kind)
    if kind == "event":
        found += problems(value["data"]["object"], "event.data.object")
        found += _previous(value["data"])
    return found


@cache
def shapes() -> dict[str, Shape]:
    """Return the shape of every kind of object, by its `object` word."""
    found = {}
    for path in _ROOT.rglob("_*.py"):
        for node in ast.parse(path.read_text()).body:
            kind = _object_name(node) if isinstance(node, ast.ClassDef) else None
            if kind is not None and isinstance(node, ast.ClassDef):
                found[kind] = _shape(node)
    return found


def _previous(data: dict[str, Any]) -> list[str]:
    shape = shapes()[data["object"]["object"]]
    names = data.get("previous_attributes") or {}
    return [f"event.data.previous_attributes.{name} is unknown" for name in names if name not in shape.fields]


def _list(value: dict[str, Any], place: str) -> list[str]:
    found = [f"{place}.{name} is missing" for name in ("data", "has_more", "url") if name not in value]
    for number, part in enumerate(value.get("data", [])):
        found += problems(part, f"{place}[{number}]")
    return found


def _fields(value: dict[str, Any], shape: Shape, place: str) -> list[str]:
    found = [f"{place}.{name} is unknown" for name in value if name not in shape.fields]
    for name, annotation in shape.fields.items():
        if name in value:
            found += _check(value[name], annotation, shape, f"{place}.{name}")
        elif not _is_optional(annotation):
            found.append(f"{place}.{name} is missing")
    return found


def _check(value: Any, annotation: ast.expr, shape: Shape, place: str) -> list[str]:
    annotation = _unquoted(annotation)
    if isinstance(annotation, ast.Subscript):
        return _check_generic(value, annotation, shape, place)
    name = ast.unparse(annotation)
    if name in _PLAIN:
        is_right = isinstance(value, _PLAIN[name]) and (isinstance(value, bool) == (name == "bool"))
        return [] if is_right else [f"{place} is {value!r}, which is no {name}"]
    if name == "Any":
        return []
    if name in shape.nested:
        inner = _shape(shape.nested[name])
        return (
            _fields(value, inner, place) if isinstance(value, dict) else [f"{place} is {value!r}, no {name}"]
        )
    return problems(value, place)


def _check_generic(value: Any, annotation: ast.Subscript, shape: Shape, place: str) -> list[str]:
    name, inner = ast.unparse(annotation.value), annotation.slice
    if name == "Literal":
        words = ast.literal_eval(inner)
        words = words if isinstance(words, tuple) else (words,)
        return [] if value in words else [f"{place} is {value!r}, none of {words}"]
    if name == "Optional":
        return [] if value is None else _check(value, inner, shape, place)
    if name == "Union":
        return _check_union(value, inner, shape, place)
    if name == "ExpandableField":
        return [] if isinstance(value, str) else _check(value, inner, shape, place)
    if name == "List":
        return _check_list(value, inner, shape, place)
    if name in _LISTS:
        return problems(value, place)
    if name in _MAPPINGS:
        return [] if isinstance(value, dict) else [f"{place} is {value!r}, no mapping"]
    raise AssertionError(f"{place}: the annotation {ast.unparse(annotation)} is new to the guard")


def _check_list(value: Any, inner: ast.expr, shape: Shape, place: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{place} is {value!r}, no list"]
    checked = (_check(part, inner, shape, f"{place}[{number}]") for number, part in enumerate(value))
    return [one for found in checked for one in found]


def _check_union(value: Any, inner: ast.expr, shape: Shape, place: str) -> list[str]:
    assert isinstance(inner, ast.Tuple)
    literals = [one for one in inner.elts if ast.unparse(one).startswith("Literal")]
    if literals:  # an open enum: what the package lists is what we may say
        return _check(value, literals[0], shape, place)
    tried = [_check(value, one, shape, place) for one in inner.elts]
    return [] if [] in tried else tried[0]


def _is_optional(annotation: ast.expr) -> bool:
    return ast.unparse(_unquoted(annotation)).startswith(("Optional", "ClassVar"))


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _shape(node: ast.ClassDef) -> Shape:
    fields = {
        line.target.id: line.annotation
        for line in node.body
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and not ast.unparse(line.annotation).startswith("ClassVar")
    }
    renamed = {_field_name(name): annotation for name, annotation in fields.items()}
    return Shape(node.name, renamed, {one.name: one for one in node.body if isinstance(one, ast.ClassDef)})


def _field_name(name: str) -> str:
    return name.removesuffix("_") if name in ("from_", "global_") else name


def _object_name(node: ast.ClassDef) -> str | None:
    for line in node.body:
        if (
            isinstance(line, ast.AnnAssign)
            and ast.unparse(line.target) == "OBJECT_NAME"
            and isinstance(line.value, ast.Constant)
        ):
            return str(line.value.value)
    return None
