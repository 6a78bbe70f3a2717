"""The parameters of one request, read by name; one that nobody reads is refused, as Stripe refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fake_stripe.errors import invalid

Value = TypeVar("Value")

_BOOLEANS = {"true": True, "false": False, True: True, False: False}


class Params:
    """What a request asks for: each value is read once by its name and kind.

    `None` means absent. Stripe unsets a value with the empty string: `unsets` tells that apart.
    """

    def __init__(self, values: dict[str, Any], place: str = "") -> None:
        self._values = values
        self._place = place
        self._read: set[str] = set()
        self._children: list[Params] = []

    def path(self, name: str) -> str:
        """Return the name as the caller wrote it, such as `items[0][price]`."""
        return f"{self._place}[{name}]" if self._place else name

    def has(self, name: str) -> bool:
        """Tell whether the parameter is there, empty or not."""
        return name in self._values

    def unsets(self, name: str) -> bool:
        """Tell whether the caller asks to unset the value."""
        return self._values.get(name) == ""

    def is_group(self, name: str) -> bool:
        """Tell whether the parameter has names within: `created[gte]` and not `created`."""
        return isinstance(self._values.get(name), dict)

    def text(self, name: str) -> str | None:
        """Return a text, None when it is absent or empty."""
        value = self._take(name)
        if isinstance(value, (dict, list)):
            raise invalid(f"Invalid string: {value}", self.path(name))
        return None if value is None or value == "" else str(value)

    def required_text(self, name: str) -> str:
        """Return a text, or refuse the request that lacks it."""
        return self._required(name, self.text)

    def integer(self, name: str) -> int | None:
        """Return a whole number."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            raise invalid(f"Invalid integer: {text}", self.path(name), "parameter_invalid_integer") from None

    def required_integer(self, name: str) -> int:
        """Return a whole number, or refuse the request that lacks it."""
        return self._required(name, self.integer)

    def boolean(self, name: str) -> bool | None:
        """Return a boolean."""
        value = self._take(name)
        if value is None or value == "":
            return None
        if not isinstance(value, (str, bool)) or value not in _BOOLEANS:
            raise invalid(f"Invalid boolean: {value}", self.path(name))
        return _BOOLEANS[value]

    def choice(self, name: str, *options: str) -> str | None:
        """Return one of the options, or refuse what is none."""
        text = self.text(name)
        if text is not None and text not in options:
            raise invalid(f"Invalid {name}: must be one of {', '.join(options)}", self.path(name))
        return text

    def texts(self, name: str) -> list[str] | None:
        """Return a list of texts; None when it is absent, an empty one when it is emptied."""
        value = self._take(name)
        if value is None:
            return None
        if value == "":
            return []
        if not isinstance(value, list) or any(isinstance(part, (dict, list)) for part in value):
            raise invalid("Invalid array", self.path(name))
        return [str(part) for part in value]

    def group(self, name: str) -> Params | None:
        """Return the parameters within `name[...]`, None when absent or unset."""
        value = self._take(name)
        if value is None or value == "":
            return None
        if not isinstance(value, dict):
            raise invalid("Invalid object", self.path(name))
        return self._child(value, self.path(name))

    def groups(self, name: str) -> list[Params]:
        """Return the parameters of each `name[0][...]`, none when absent."""
        value = self._take(name)
        if value is None or value == "":
            return []
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            raise invalid("Invalid array", self.path(name))
        return [self._child(part, f"{self.path(name)}[{place}]") for place, part in enumerate(value)]

    def texts_by_name(self, name: str) -> dict[str, str] | None:
        """Return a mapping of texts such as a meter event's payload."""
        value = self._take(name)
        if value is None or value == "":
            return None
        if not isinstance(value, dict) or not all(isinstance(part, str) for part in value.values()):
            raise invalid("Invalid object", self.path(name))
        return value

    def raw(self, name: str) -> Any:
        """Return a value as it is."""
        return self._take(name)

    def metadata(self, before: dict[str, str] | None = None) -> dict[str, str]:
        """Return the metadata after this request: names are merged, an empty text removes one."""
        if self.unsets("metadata"):
            self._read.add("metadata")
            return {}
        merged = {**(before or {}), **(self.texts_by_name("metadata") or {})}
        return {name: value for name, value in merged.items() if value != ""}

    def ignore(self, *names: str) -> None:
        """Accept parameters that change nothing here."""
        self._read.update(names)

    def finish(self) -> None:
        """Refuse what was not read: Stripe knows it and this server does not, or nobody does."""
        for name in self._values:
            if name not in self._read:
                raise invalid(
                    f"Received unknown parameter: {self.path(name)}", self.path(name), "parameter_unknown"
                )
        for child in self._children:
            child.finish()

    def _take(self, name: str) -> Any:
        self._read.add(name)
        return self._values.get(name)

    def _child(self, values: dict[str, Any], place: str) -> Params:
        child = Params(values, place)
        self._children.append(child)
        return child

    def _required(self, name: str, read: Callable[[str], Value | None]) -> Value:
        value = read(name)
        if value is None:
            raise invalid(f"Missing required param: {self.path(name)}.", self.path(name), "parameter_missing")
        return value
