"""The one way to say that an action cannot be offered."""

from __future__ import annotations

from dataclasses import dataclass, replace

from api_factory.actions.wire import is_text
from api_factory.errors import ConfigurationError


class ActionDefinitionError(ConfigurationError):
    """An action is not defined well; correct the function this names and start again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an author's code something stands, and whether values there come from clients."""

    function: str
    part: str = ""
    is_input: bool = False
    within: tuple[type, ...] = ()

    def at(self, part: str, *, is_input: bool = False) -> Place:
        """Point at a part of the same function, such as `parameter 'text'`."""
        return replace(self, part=part, is_input=is_input)

    def inside(self, owner: type, field: str) -> Place:
        """Point at a field of a class met on the way."""
        prefix = self.part.partition(" (field ")[0]
        return replace(self, part=f"{prefix} (field {owner.__name__}.{field})", within=(*self.within, owner))

    def check_text(self, text: str | None, what: str) -> None:
        """Refuse a text that cannot be written in UTF-8, as it could not be shown to anybody."""
        if not is_text(text or ""):
            raise self.refuse(f"{what} is not valid Unicode", "take the lone surrogate out of it")

    def refuse(self, problem: str, fix: str) -> ActionDefinitionError:
        """Make the sentence: function, part, what is wrong; what to write instead."""
        where = f"{self.function}, {self.part}" if self.part else self.function
        return ActionDefinitionError(f"{where}: {problem}; {fix}.")
