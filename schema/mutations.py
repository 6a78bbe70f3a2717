"""The server's own mutations: a key manages the keys of its account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import strawberry

from api_factory.actions import DEFAULT_SCOPES
from api_factory.errors import (
    BadUserInput,
    NotFound,
    Unauthenticated,
)
from api_factory.ids import parse_public_id
from api_factory.keys import Grantor, Key, NewKey
from schema.buying import BuyingMutations
from schema.context import Context
from schema.directives import RequiresKey, Scope
from schema.scalars import BigInt, Json
from schema.types import ApiKey, Info
from schema.user_errors import MENDABLE, UserError

_MANAGES_KEYS: Final = RequiresKey(scopes=[Scope("MANAGE_KEYS")])


@strawberry.type
class ApiKeyPayload:
    """The key as it is now, or why it is not changed."""

    api_key: ApiKey | None
    user_errors: list[UserError]


@strawberry.type
class ApiKeySecretPayload:
    """The key and its secret, or why there is none."""

    api_key: ApiKey | None
    secret: str | None = strawberry.field(description="Shown this once.")
    user_errors: list[UserError]


@strawberry.input
class CreateKeyInput:
    """What the new key is to be."""

    name: str
    scopes: list[Scope] = strawberry.field(default_factory=lambda: [Scope(scope) for scope in DEFAULT_SCOPES])
    allowed_actions: list[str] | None = strawberry.field(
        default=None, description="Names of the actions it may call; null is all."
    )
    cidrs: list[str] | None = strawberry.field(
        default=None, description="Networks it may be used from, such as 203.0.113.0/24; null is all."
    )
    cap_units: BigInt | None = strawberry.field(
        default=None, description="Units per period that it alone may use."
    )
    trusted_documents_only: bool = strawberry.field(
        default=False, description="True for a key that may send nothing but trusted documents."
    )
    metadata: Json | None = strawberry.field(default=None, description="An object of your own.")
    livemode: bool = strawberry.field(default=True, description="False for a test key, never billed.")
    expires_at: datetime | None = None


@strawberry.input
class ApiKeyRefInput:
    """Which key."""

    id: strawberry.ID


@strawberry.input
class RotateKeyInput:
    """Which key, and how long its old secret keeps working."""

    id: strawberry.ID
    grace_seconds: int = strawberry.field(default=0, description="How long the old secret keeps working.")


@strawberry.type(name="Mutation")
class Mutations(BuyingMutations):
    """Root fields that write."""

    @strawberry.mutation(
        directives=[_MANAGES_KEYS], description="Issue a key; it reaches no further than the calling key."
    )
    async def create_key(
        self, info: Info, new: Annotated[CreateKeyInput, strawberry.argument(name="input")]
    ) -> ApiKeySecretPayload:
        """Issue a key."""
        engine, admission = info.context.engine, info.context.admission
        try:
            issued = await engine.keys.create(
                admission.payer.account_id,
                _new_key(new),
                by=info.context.actor,
                known_scopes=engine.catalogue.scopes,
                grantor=_grantor(info.context),
            )
        except MENDABLE as error:
            return ApiKeySecretPayload(api_key=None, secret=None, user_errors=[UserError.of(error)])
        return ApiKeySecretPayload(
            api_key=ApiKey.of(issued.key, engine.catalogue.scopes), secret=issued.secret, user_errors=[]
        )

    @strawberry.mutation(
        directives=[_MANAGES_KEYS],
        description="Give a key a new secret; its id, quota, limits and history stay.",
    )
    async def rotate_key(
        self, info: Info, which: Annotated[RotateKeyInput, strawberry.argument(name="input")]
    ) -> ApiKeySecretPayload:
        """Replace the secret of a key."""
        engine, admission = info.context.engine, info.context.admission
        try:
            issued = await engine.keys.rotate(
                _key_id(which.id),
                grace_seconds=which.grace_seconds,
                by=info.context.actor,
                account_id=admission.payer.account_id,
                grantor=_grantor(info.context),
            )
        except MENDABLE as error:
            return ApiKeySecretPayload(api_key=None, secret=None, user_errors=[UserError.of(error)])
        return ApiKeySecretPayload(
            api_key=ApiKey.of(issued.key, engine.catalogue.scopes), secret=issued.secret, user_errors=[]
        )

    @strawberry.mutation(directives=[_MANAGES_KEYS], description="Reversible with resumeKey.")
    async def suspend_key(
        self, info: Info, which: Annotated[ApiKeyRefInput, strawberry.argument(name="input")]
    ) -> ApiKeyPayload:
        """Stop a key until it is resumed."""
        return await _move(info.context, info.context.engine.keys.suspend, which)

    @strawberry.mutation(directives=[_MANAGES_KEYS], description="Let a suspended key work again.")
    async def resume_key(
        self, info: Info, which: Annotated[ApiKeyRefInput, strawberry.argument(name="input")]
    ) -> ApiKeyPayload:
        """Let a suspended key work again."""
        return await _move(info.context, info.context.engine.keys.resume, which)

    @strawberry.mutation(directives=[_MANAGES_KEYS], description="Final.")
    async def revoke_key(
        self, info: Info, which: Annotated[ApiKeyRefInput, strawberry.argument(name="input")]
    ) -> ApiKeyPayload:
        """End a key for ever."""
        return await _move(info.context, info.context.engine.keys.revoke, which)


async def _move(
    context: Context, verb: Callable[..., Awaitable[Key]], which: ApiKeyRefInput
) -> ApiKeyPayload:
    try:
        key = await verb(
            _key_id(which.id),
            by=context.actor,
            account_id=context.admission.payer.account_id,
            grantor=_grantor(context),
        )
    except MENDABLE as error:
        return ApiKeyPayload(api_key=None, user_errors=[UserError.of(error)])
    return ApiKeyPayload(api_key=ApiKey.of(key, context.engine.catalogue.scopes), user_errors=[])


def _new_key(new: CreateKeyInput) -> NewKey:
    if new.metadata is not None and not isinstance(new.metadata, dict):
        raise BadUserInput("The metadata is not a JSON object; send names with JSON values.")
    return NewKey(
        name=new.name,
        scopes=tuple(new.scopes),
        allowed_actions=None if new.allowed_actions is None else tuple(new.allowed_actions),
        cidrs=tuple(new.cidrs or ()),
        cap_units=new.cap_units,
        trusted_documents_only=new.trusted_documents_only,
        metadata=new.metadata or {},
        livemode=new.livemode,
        expires_at=new.expires_at,
    )


def _key_id(text: str) -> UUID:
    key_id = parse_public_id("key", text)
    if key_id is None:
        raise NotFound("There is no such key here; list the keys to see which there are.")
    return key_id


def _grantor(context: Context) -> Grantor:
    admission = context.admission
    if admission.snapshot is None:
        raise Unauthenticated
    return Grantor.of(admission.snapshot, admission.payer.not_after)
