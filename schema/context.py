"""What one operation carries to its resolvers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schema.examples import Presentation
from schema.operation import Survey

if TYPE_CHECKING:
    from api_factory.guard import Admission
    from api_factory.wiring import Engine


@dataclass(frozen=True, slots=True)
class Context:
    """The engine, and what the guard and the survey found out about this operation; `info.context`."""

    engine: Engine
    admission: Admission
    request_id: str
    survey: Survey
    presentations: Mapping[str, Presentation]
