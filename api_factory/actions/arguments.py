"""What a face has read, made into the author's own values: the only place where clients' values run his code.

A face hands over plain values: lists, leaves, and for a dataclass a dict by its Python names. Here they
become the author's collections and dataclasses. A `ValueError` of his `__post_init__` is his answer to the
client; an `ActionError` passes as it is; whatever else he raises is a fault of his.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, Union, get_args

from api_factory.actions.annotations import Parameter, fields_of, readable
from api_factory.actions.hints import Hint, origin_of
from api_factory.actions.results import has_json_type
from api_factory.actions.wire import plain_json
from api_factory.errors import BadUserInput

Path: TypeAlias = tuple[str | int, ...]
Reader: TypeAlias = Callable[[Any, Path], Any]
"""Makes the author's value of a plain one, which stands at a path of clients' names."""


def arguments_reader(members: Iterable[Parameter]) -> Callable[[Mapping[str, object], Path], dict[str, Any]]:
    """Compile the making of arguments, or of a dataclass's fields: by Python name in and out.

    What it returns raises `BadUserInput`, with the path of the value in `problems`.
    """
    readers = {each.name: (each.field_name, _reader(each.annotation)) for each in members}

    def read(values: Mapping[str, object], path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            field_name, make = readers[name]
            found[name] = make(value, (*path, field_name))
        return found

    return read


def refuse(path: Path, sentence: str) -> BadUserInput:
    """Say what is wrong with the value at a path."""
    sentence = f"{sentence.rstrip('.')}." if sentence.strip() else "It is not valid."
    problem = {"path": list(path), "message": sentence}
    return BadUserInput(f"{'.'.join(map(str, path))}: {sentence}", extensions={"problems": [problem]})


def _reader(annotation: Hint) -> Reader:
    origin, arguments = origin_of(annotation), get_args(annotation)
    if origin is Union:
        return _optional(_reader(arguments[0]))
    if origin in (list, tuple, set, frozenset):
        return _collection(origin, _reader(arguments[0]))
    if annotation is Any or annotation is dict or origin is dict:
        return _json(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _dataclass(annotation)
    return _finite if annotation is float else _as_it_is


def _as_it_is(value: Any, path: Path) -> Any:
    return _refuse_null(path) if value is None else value


def _finite(value: Any, path: Path) -> Any:
    # GraphQL reads 1e999 as infinity, which no author expects and no JSON can hold.
    if value is None:
        _refuse_null(path)
    if not math.isfinite(value):
        raise refuse(path, "The number is too large for a float; send one below 1.8e308.")
    return value


def _optional(read: Reader) -> Reader:
    return lambda value, path: None if value is None else read(value, path)


def _collection(kind: Callable[[Iterable[Any]], Any], read: Reader) -> Reader:
    def make(values: Sequence[Any] | None, path: Path) -> Any:
        if values is None:
            _refuse_null(path)
        return kind([read(value, (*path, index)) for index, value in enumerate(values)])

    return make


def _json(annotation: Hint) -> Reader:
    def check(value: Any, path: Path) -> Any:
        if value is None and annotation is not Any:
            _refuse_null(path)
        try:
            plain = plain_json(value)
        except ValueError as error:
            raise refuse(path, str(error)) from None
        if not has_json_type(plain, annotation):
            raise refuse(path, f"Send a JSON object{_values_of(annotation)}")
        return plain

    return check


def _values_of(annotation: Hint) -> str:
    kinds = [each for each in get_args(annotation)[1:] if each is not Any]
    return f" whose values are {readable(kinds[0])}" if kinds else ""


def _dataclass(cls: type) -> Reader:
    read = arguments_reader(fields_of(cls, is_input=True))

    def make(value: Any, path: Path) -> Any:
        if value is None:
            _refuse_null(path)
        if isinstance(value, cls):
            return value
        fields = read(value, path)
        try:
            return cls(**fields)
        except ValueError as error:
            raise refuse(path, str(error)) from error

    return make


def _refuse_null(path: Path) -> NoReturn:
    raise refuse(path, "null is no value here; leave it out to take the default")
