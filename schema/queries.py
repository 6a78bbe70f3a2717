"""The server's own queries; the actions' fields join them in `schema.build`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import strawberry

from api_factory import actions, usage
from api_factory.errors import BadUserInput, NotFound
from api_factory.ids import parse_public_id
from api_factory.keys import KeyStatus
from schema.connections import (
    PAGED,
    After,
    Before,
    Connection,
    First,
    Found,
    Last,
    connect,
    read_page,
    refuse_cursor,
    slice_of,
)
from schema.context import Context
from schema.directives import Public, RateLimit, RequiresKey, Scope
from schema.types import (
    Action,
    ApiKey,
    ApiKeyStatus,
    Info,
    Node,
    Plan,
    RateLimitStatus,
    UsageGranularity,
    UsageReport,
    Viewer,
)

_MANAGE_KEYS: Final = "MANAGE_KEYS"


@strawberry.input
class UsageFilter:
    """Which calls a report is about."""

    since: datetime | None = strawberry.field(
        default=None, description="Inclusive; the start of the period when omitted."
    )
    until: datetime | None = strawberry.field(
        default=None, description="Exclusive; the end of the period when omitted."
    )
    actions: list[str] | None = strawberry.field(default=None, description="Names; null is all.")
    api_key_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Null is all.")


@strawberry.type(name="Query")
class Queries:
    """Root fields that read."""

    @strawberry.field(directives=[RequiresKey(scopes=[])], description="The account behind the calling key.")
    async def viewer(self, info: Info) -> Viewer:
        """Return the account behind the calling key."""
        engine, payer = info.context.engine, info.context.admission.payer
        return Viewer.of(await engine.accounts.get(payer.account_id))

    @strawberry.field(
        directives=[RequiresKey(scopes=[])],
        description="The rate limits as they stand for the calling key; null when none holds.",
    )
    async def rate_limit(self, info: Info) -> RateLimitStatus | None:
        """Return every window that this operation was counted in."""
        context = info.context
        now = context.engine.clock.now()
        return RateLimitStatus.of(context.admission.windows, context.survey.cost, now)

    @strawberry.field(
        directives=[RequiresKey(scopes=[Scope("READ_USAGE")]), RateLimit(limit=60, window=60)],
        description="What the account used, for keys of the calling key's mode.",
    )
    async def usage(
        self,
        info: Info,
        only: Annotated[UsageFilter | None, strawberry.argument(name="filter")] = None,
        granularity: UsageGranularity = UsageGranularity.DAY,
    ) -> UsageReport:
        """Return sums and buckets."""
        wanted = await _usage_filter(info.context, only or UsageFilter())
        payer = info.context.admission.payer
        report = await info.context.engine.usage.report(payer.account_id, wanted, granularity.value)
        return UsageReport.of(report)

    @strawberry.field(
        directives=[RequiresKey(scopes=[Scope(_MANAGE_KEYS)]), PAGED],
        description="The keys of the account, the newest first.",
    )
    async def api_keys(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        status: ApiKeyStatus | None = None,
    ) -> Connection[ApiKey]:
        """Return a page of keys."""
        page = read_page(first, after, last, before)
        engine, payer = info.context.engine, info.context.admission.payer
        found = await engine.keys.list(
            account_id=payer.account_id,
            status=None if status is None else KeyStatus(status.value),
            after=_key_id(page.after),
            before=_key_id(page.before),
            first=None if page.is_backward else page.size,
            last=page.size if page.is_backward else None,
        )
        nodes = [ApiKey.of(key, engine.catalogue.scopes) for key in found.keys]
        return connect(Found(nodes, found.has_next, found.has_previous, found.total_count), _id_of)

    @strawberry.field(directives=[Public(), PAGED], description="The catalogue.")
    async def actions(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Action]:
        """Return a page of actions, in the order of their definition."""
        page = read_page(first, after, last, before)
        catalogue = list(info.context.engine.catalogue)
        found = slice_of(catalogue, page, lambda action: f"act_{action.name}")
        nodes = [_shown(info.context, action) for action in found.nodes]
        return connect(Found(nodes, found.has_next, found.has_previous, found.total_count), _id_of)

    @strawberry.field(
        directives=[Public()],
        description="One action, by its name or the name of its field; null for others.",
    )
    async def action(self, info: Info, name: str) -> Action | None:
        """Return one action."""
        catalogue = info.context.engine.catalogue
        found = catalogue.get(name) or catalogue.by_field_name(name)
        return None if found is None else _shown(info.context, found)

    @strawberry.field(directives=[Public()], description="The plans on offer.")
    async def plans(self, info: Info) -> list[Plan]:
        """Return the plans on offer."""
        return [Plan.of(plan) for plan in await info.context.plans.get()]

    @strawberry.field(
        directives=[RequiresKey(scopes=[])],
        description="Any object by its ID; null when it does not exist or is not the caller's.",
    )
    async def node(self, info: Info, id: strawberry.ID) -> Node | None:  # noqa: A002 - Relay's name
        """Find an object by the prefix of its id."""
        find = _NODES.get(id.partition("_")[0])
        try:
            return None if find is None else await find(info.context, id)
        except NotFound:
            return None


async def _account_node(context: Context, node_id: str) -> Node | None:
    payer = context.admission.payer
    if parse_public_id("acc", node_id) != payer.account_id:
        return None
    return Viewer.of(await context.engine.accounts.get(payer.account_id))


async def _key_node(context: Context, node_id: str) -> Node | None:
    # Every key may see itself; the others of its account are for keys that manage keys.
    engine, payer = context.engine, context.admission.payer
    key_id = parse_public_id("key", node_id)
    if key_id is None or (key_id != payer.key_id and _MANAGE_KEYS not in context.admission.caller.scopes):
        return None
    key = await engine.keys.find(key_id, account_id=payer.account_id)
    return ApiKey.of(key, engine.catalogue.scopes)


async def _action_node(context: Context, node_id: str) -> Node | None:
    action = context.engine.catalogue.get(node_id.removeprefix("act_"))
    return None if action is None else _shown(context, action)


async def _plan_node(context: Context, node_id: str) -> Node | None:
    return Plan.of(await context.engine.plans.find(node_id.removeprefix("plan_")))


_NODES: Final[Mapping[str, Callable[[Context, str], Awaitable[Node | None]]]] = {
    "acc": _account_node,
    "key": _key_node,
    "act": _action_node,
    "plan": _plan_node,
}


async def _usage_filter(context: Context, only: UsageFilter) -> usage.Filter:
    payer = context.admission.payer
    since, until = only.since, only.until
    if since is None or until is None:
        standing = await context.engine.usage.standing(payer.account_id, livemode=payer.livemode)
        since, until = since or standing.period_start, until or standing.period_end
    return usage.Filter(
        since=since,
        until=until,
        livemode=payer.livemode,
        actions=None if only.actions is None else _action_names(context.engine.catalogue, only.actions),
        key_ids=None if only.api_key_ids is None else tuple(map(_known_key_id, only.api_key_ids)),
    )


def _action_names(catalogue: actions.Catalogue, names: list[str]) -> tuple[str, ...]:
    # Usage knows actions by their own names; clients of GraphQL also know those of the fields.
    found = ((name, catalogue.by_field_name(name)) for name in names)
    return tuple(name if action is None else action.name for name, action in found)


def _known_key_id(text: str) -> UUID:
    key_id = parse_public_id("key", text)
    if key_id is None:
        raise BadUserInput("apiKeyIds holds something that is no id of a key; ids look like key_….")
    return key_id


def _key_id(identity: str | None) -> UUID | None:
    if identity is None:
        return None
    key_id = parse_public_id("key", identity)
    if key_id is None:
        raise refuse_cursor()
    return key_id


def _shown(context: Context, action: actions.Action) -> Action:
    return Action.of(action, context.presentations[action.name])


def _id_of(node: Node) -> str:
    return node.id
