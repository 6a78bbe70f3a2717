"""What a person can mend: it comes back beside a null payload, as data.

Refusals of the guard and failures of the server are errors of the reply, as everywhere.
"""

from __future__ import annotations

import enum
from typing import Final

import strawberry

from api_factory.errors import (
    AlreadySubscribed,
    ApiFactoryError,
    BadUserInput,
    InvalidState,
    LimitReached,
    NotFound,
    NothingBought,
    ScopeNotGranted,
)


@strawberry.enum
class UserErrorCode(enum.Enum):
    """What kind of thing to mend."""

    INVALID_INPUT = "INVALID_INPUT"
    NOT_FOUND = "NOT_FOUND"
    INVALID_STATE = "INVALID_STATE"
    LIMIT_REACHED = "LIMIT_REACHED"
    SCOPE_NOT_GRANTED = "SCOPE_NOT_GRANTED"


_CODES: Final[tuple[tuple[type[ApiFactoryError], UserErrorCode], ...]] = (
    (NotFound, UserErrorCode.NOT_FOUND),
    (InvalidState, UserErrorCode.INVALID_STATE),
    (AlreadySubscribed, UserErrorCode.INVALID_STATE),
    (NothingBought, UserErrorCode.INVALID_STATE),
    (LimitReached, UserErrorCode.LIMIT_REACHED),
    (ScopeNotGranted, UserErrorCode.SCOPE_NOT_GRANTED),
    (BadUserInput, UserErrorCode.INVALID_INPUT),
)
MENDABLE: Final = tuple(kind for kind, _ in _CODES)
"""The refusals that a mutation answers with user errors."""


@strawberry.type(description="Why a mutation did nothing, for the person who asked for it.")
class UserError:
    """One thing to mend."""

    code: UserErrorCode
    message: str
    field: list[str] | None = strawberry.field(description='Path in the input, such as ["input", "id"].')

    @classmethod
    def of(cls, error: ApiFactoryError, *, field: list[str] | None = None) -> UserError:
        """Show a refusal of the engine; one of what was not found is about the id, unless told otherwise."""
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        if field is None and code is UserErrorCode.NOT_FOUND:
            field = ["input", "id"]
        return cls(code=code, message=error.message, field=field)
