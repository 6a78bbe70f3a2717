"""What one operation carries to its resolvers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from api_factory.accounts import Plan
from api_factory.audit import Actor
from api_factory.errors import Unavailable
from api_factory.ids import public_id
from schema.examples import Presentation
from schema.operation import Survey
from schema.remembered import Remembered

if TYPE_CHECKING:
    from api_factory.guard import Admission
    from api_factory.wiring import Engine


class Context(NamedTuple):
    """The engine, and what the guard and the survey found out about this operation; `info.context`."""

    engine: Engine
    admission: Admission
    request_id: str
    survey: Survey
    presentations: Mapping[str, Presentation]
    plans: Remembered[tuple[Plan, ...]]
    deadline: float | None = None
    """When, by the loop's clock, each action is given up by itself; None where all are, together."""

    @property
    def actor(self) -> Actor:
        """Return the calling key as who is named in the audit log."""
        return Actor("key", public_id("key", self.admission.payer.key_id), self.request_id)

    async def run_in_time(self, call: int, arguments: Mapping[str, object], deadline: float) -> object:
        """Run one call of the ask, unless the time is up by the loop's clock.

        Raises what `Admission.run` raises, and `Unavailable` when the call did not end in time or was not
        begun; it costs nothing then.
        """
        if asyncio.get_running_loop().time() >= deadline:
            raise Unavailable("The operation ran out of time before this field's turn; send it by itself.")
        try:
            async with asyncio.timeout_at(deadline):
                return await self.admission.run(call, arguments)
        except TimeoutError:
            raise Unavailable("This field ran for too long and was given up; it is not charged.") from None
