"""The types of actions as pydantic models: what JSON may come in, what goes out, and its JSON Schema.

The rules are those of the GraphQL face: names in camelCase, enums by their names, no field that was not
declared. A value has JSON's own type where JSON has one, so `true` is no number and `"1"` no integer;
UUID, Decimal and times are strings in the forms of `actions.wire`; only a Decimal may be a whole number too.
NaN and infinity do not exist. Reading checks the shape and runs no code of an author.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final, Literal, Optional, Union, get_args
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
    create_model,
)

from api_factory.actions import ID, Parameter, docstring_of, fields_of
from api_factory.actions.hints import Hint, origin_of
from api_factory.actions.wire import (
    DECIMAL_LENGTH_MAX,
    DECIMAL_PATTERN,
    INT_MAX,
    INT_MIN,
    plain_json,
    read_date,
    read_decimal,
    read_moment,
    read_time,
    read_uuid,
    write_date,
    write_moment,
)

_READ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
# Not strict: an author may return a tuple where he promised a list.
_WRITTEN = ConfigDict(from_attributes=True, allow_inf_nan=False)


_Json = dict[str, Any]

_DECIMAL_TEXT: Final[_Json] = {
    "type": "string",
    "pattern": DECIMAL_PATTERN,
    "maxLength": DECIMAL_LENGTH_MAX,
}
_TEXTS: Final[Mapping[Hint, _Json]] = {
    Decimal: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    # Not the format "time": that of JSON Schema insists on an offset.
    time: {"type": "string", "examples": ["12:30:00", "12:30:00Z"]},
    UUID: {"type": "string", "format": "uuid"},
}


def _read_as(read: Callable[[object], object], schema: _Json) -> Hint:
    return Annotated[Any, PlainValidator(read), WithJsonSchema(schema)]


def _written_as(hint: Hint, write: Callable[[Any], str]) -> Hint:
    # What a function returned was checked before it came here.
    return Annotated[Any, PlainSerializer(write), WithJsonSchema({**_TEXTS[hint]})]


_READ_LEAVES: Final[Mapping[Hint, Hint]] = {
    int: Annotated[int, Field(ge=INT_MIN, le=INT_MAX)],
    Decimal: _read_as(read_decimal, {"anyOf": [_DECIMAL_TEXT, {"type": "integer"}]}),
    datetime: _read_as(read_moment, _TEXTS[datetime]),
    date: _read_as(read_date, _TEXTS[date]),
    time: _read_as(read_time, _TEXTS[time]),
    UUID: _read_as(read_uuid, _TEXTS[UUID]),
}
_WRITTEN_LEAVES: Final[Mapping[Hint, Hint]] = {
    int: Annotated[int, Field(ge=INT_MIN, le=INT_MAX)],
    Decimal: _written_as(Decimal, str),
    datetime: _written_as(datetime, write_moment),
    date: _written_as(date, write_date),
    time: _written_as(time, time.isoformat),
    UUID: _written_as(UUID, str),
}


class ReadShapes:
    """Models of what clients send: a dataclass is a dict by Python names, and a set is a list.

    The engine makes the authors' own values of them, once the caller has been let in.
    """

    def __init__(self) -> None:
        """Remember the models, so that a dataclass of several actions is one schema."""
        self._models: dict[type, Hint] = {}

    def arguments(self, name: str, parameters: Sequence[Parameter]) -> type[BaseModel]:
        """Return the model of an action's arguments; `given` reads what it validated."""
        fields: dict[str, Any] = {
            f"p{index}": (self._of(each.annotation), _input_field(each))
            for index, each in enumerate(parameters)
        }
        return create_model(name, __config__=_READ, **fields)

    def _of(self, hint: Hint) -> Hint:
        if isinstance(hint, type) and issubclass(hint, Enum):
            return Annotated[Literal[tuple(hint.__members__)], AfterValidator(hint.__getitem__)]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self._dataclass(hint)
        if origin_of(hint) in (tuple, set, frozenset):
            return list[self._of(get_args(hint)[0])]  # type: ignore[misc]
        return _READ_LEAVES.get(hint) or _mapped(hint, self._of)

    def _dataclass(self, cls: type) -> Hint:
        if cls not in self._models:
            parameters = fields_of(cls, is_input=True)
            model = self.arguments(f"{cls.__name__}Input", parameters)
            model.__doc__ = docstring_of(cls).head
            self._models[cls] = Annotated[model, AfterValidator(lambda values: given(values, parameters))]
        return self._models[cls]


class WrittenShapes:
    """Models of what actions return; they are filled from the attributes of the authors' objects."""

    def __init__(self) -> None:
        """Remember the models, so that a dataclass of several actions is one schema."""
        self._models: dict[type, type[BaseModel]] = {}

    def result(self, name: str, hint: Hint, description: str | None) -> type[BaseModel]:
        """Return the model whose one field, `data`, is an action's result."""
        return create_model(name, __config__=_WRITTEN, data=(self._of(hint), Field(description=description)))

    def _of(self, hint: Hint) -> Hint:
        if isinstance(hint, type) and issubclass(hint, Enum):
            return Annotated[Literal[tuple(hint.__members__)], BeforeValidator(_name_of)]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self._dataclass(hint)
        if hint is Any or hint is dict or origin_of(hint) is dict:
            return Annotated[
                Any, PlainSerializer(plain_json), WithJsonSchema(TypeAdapter(hint).json_schema())
            ]
        return _WRITTEN_LEAVES.get(hint) or _mapped(hint, self._of)

    def _dataclass(self, cls: type) -> type[BaseModel]:
        if cls not in self._models:
            fields: dict[str, Any] = {
                f"p{index}": (self._of(each.annotation), _output_field(each))
                for index, each in enumerate(fields_of(cls))
            }
            model = create_model(cls.__name__, __config__=_WRITTEN, **fields)
            model.__doc__ = docstring_of(cls).head
            self._models[cls] = model
        return self._models[cls]


def given(values: BaseModel, parameters: Sequence[Parameter]) -> dict[str, object]:
    """Return what the client gave by Python names; what he left out is left to the function's defaults."""
    names = {f"p{index}": each.name for index, each in enumerate(parameters)}
    return {names[field]: getattr(values, field) for field in values.model_fields_set}


def _mapped(hint: Hint, inner: Callable[[Hint], Hint]) -> Hint:
    """Return the same container of what `inner` makes of its parts; free JSON and scalars are themselves."""
    if hint is ID:
        return str
    origin, parts = origin_of(hint), get_args(hint)
    if origin in (None, dict):
        return hint
    if origin is Union:
        return Optional[inner(parts[0])]  # noqa: UP045 - the type is a value here
    return origin[tuple(part if part is ... else inner(part) for part in parts)]


def _input_field(parameter: Parameter) -> Any:
    name = parameter.field_name
    if parameter.is_required:
        return Field(validation_alias=name, description=parameter.description)
    shown = _shown_default(parameter.default)
    if shown is dataclasses.MISSING:
        return Field(validation_alias=name, description=parameter.description, default_factory=lambda: None)
    return Field(validation_alias=name, description=parameter.description, default=shown)


def _output_field(parameter: Parameter) -> Any:
    return Field(
        validation_alias=parameter.name,
        serialization_alias=parameter.field_name,
        description=parameter.description,
    )


def _shown_default(default: object) -> object:
    """Return a default as the schema can show it; it is never used, as only what was given is passed on."""
    if isinstance(default, Enum):
        return default.name
    return default if default is None or type(default) in (bool, int, float, str) else dataclasses.MISSING


def _name_of(member: object) -> object:
    return member.name if isinstance(member, Enum) else member
