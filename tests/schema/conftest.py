"""The GraphQL face over a guard that is a fake, or, as `house`, over a whole engine on a real database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from api_factory.accounts import Account
from api_factory.actions import ID, ActionError, Caller, Catalogue, action, define
from api_factory.audit import Actor
from api_factory.clock import ManualClock
from api_factory.db import Database
from api_factory.errors import InvalidKey, NotFound, ScopeMissing, Unauthenticated
from api_factory.guard import Admission, Ask
from api_factory.hello import echo, ping
from api_factory.keys import NewKey
from api_factory.limits import WindowStatus
from api_factory.metrics import Metrics
from api_factory.settings import Settings
from api_factory.wiring import Engine, build_engine
from schema.build import GuardedSchema, build_schema
from schema.http import GraphQLHTTP

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
KEY = "af_test_good"
WINDOW = WindowStatus("minute", 60, 60, 59, 42)


class Tone(Enum):
    """How it sounds."""

    FORMAL = "formal, as in a letter"
    WARM = 2


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who is greeted.

    Attributes:
        full_name: As on the envelope.
    """

    full_name: str
    tone: Tone = Tone.WARM
    born_on: date | None = None
    tags: list[str] = field(default_factory=list)
    badge: UUID = field(default_factory=lambda: UUID(int=next(_BADGES)))

    def __post_init__(self) -> None:
        if self.full_name == "nobody":
            raise ActionError("Nobody cannot be greeted.", "NOBODY")


_BADGES: Iterator[int] = iter(range(1, 1_000_000))


@dataclass(frozen=True, slots=True)
class Greeting:
    """What is said."""

    text_said: str
    recipient: Recipient
    more: dict[str, Any]
    anything: Any = None


@action(units=3, rate="10/second;100/minute")
async def greet(recipient: Recipient, times: int = 1, others: tuple[Recipient, ...] = ()) -> Greeting:
    """Greet somebody.

    Args:
        recipient: Who.
        times: How often.

    Returns:
        What was said.
    """
    names = [recipient.full_name, *(other.full_name for other in others)]
    return Greeting(" ".join(["Hello", *names] * times), recipient, {"times": times})


SEEN: list[Any] = []


@action
async def see(
    whole: int = 1,
    real: float = 0.5,
    text: str = "a",
    flag: bool = True,
    reference: ID = ID("r"),  # noqa: B008
    badge: UUID = UUID(int=7),  # noqa: B008
    price: Decimal = Decimal("0.50"),
    day: date = date(2026, 1, 31),
    moment: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC),
    clock: time = time(12, 30),
    tone: Tone = Tone.WARM,
    many: list[int] = [1, 2],  # noqa: B006 - authors write it, and no call may see another's list
    row: tuple[str, ...] = ("x",),
    bag: set[int] = {3},  # noqa: B006 - as above
    few: frozenset[Tone] = frozenset({Tone.FORMAL}),
    maybe: int | None = None,
    nested: list[list[int]] | None = None,
    free: dict[str, Any] = {},  # noqa: B006 - as above
    anything: Any = None,
    recipient: Recipient = Recipient("default", badge=UUID(int=9)),  # noqa: B008
    huge: int = 2**40,
) -> str:
    """Remember every argument."""
    SEEN.append(dict(locals()))
    many.append(99)
    return "seen"


@action
async def returned(value: Any) -> Any:
    """Return any JSON unchanged."""
    return value


@action
async def count(up_to: int) -> int:
    """Return a number."""
    return up_to * 1_000_000


@action
async def odd(kind: str) -> Any:
    """Return what cannot be written."""
    return {"set": {1}, "surrogate": "\ud800", "big": 2**70, "keys": {1: "a"}, "deep": _deep(300)}[kind]


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@action
async def mangled() -> str:
    """Return text that is no UTF-8."""
    return "\ud800"


@action(charge="reserve")
async def refuse(reason: str = "no") -> str:
    """Refuse as expected."""
    raise ActionError(f"Refused: {reason}", "TEXT_REFUSED", limit=7, things={1})


@action
async def mangled_refusal() -> str:
    """Refuse in text that is no UTF-8."""
    raise ActionError("\ud800", "MANGLED")


@action
async def crash() -> str:
    """Break."""
    raise RuntimeError("the password is hunter2")


@action
async def missing() -> str:
    """Refuse as the engine does."""
    raise NotFound


@action
async def lie() -> list[Greeting]:
    """Return what it does not promise."""
    return ["no greeting"]  # type: ignore[list-item]


@action(scope="READ_REPORTS", deprecated="Use echo.")
async def report() -> str:
    """Need a scope of its own."""
    return "report"


@action
async def hang() -> str:
    """Never end."""
    await asyncio.Event().wait()
    return ""


@action(kind="mutation")
async def write(what: str, caller: Caller) -> str:
    """Write something down."""
    SEEN.append((what, caller.key_id))
    return what


@action
async def cancel() -> str:
    """Cancel what nobody cancelled."""
    raise asyncio.CancelledError


@action(kind="mutation", charge="reserve", units=2)
async def write_slowly() -> str:
    """Write for ever."""
    SEEN.append("begun")
    await asyncio.Event().wait()
    return ""


@action(kind="mutation")
async def write_fails() -> str:
    """Fail to write."""
    SEEN.append("failed")
    raise ActionError("No.", "NO")


FUNCTIONS = (
    ping,
    echo,
    greet,
    see,
    returned,
    count,
    odd,
    mangled,
    refuse,
    mangled_refusal,
    crash,
    missing,
    lie,
    report,
    hang,
    cancel,
    write,
    write_slowly,
    write_fails,
)


def catalogue_of(*functions: Callable[..., Any]) -> Catalogue:
    """Return a catalogue of these functions."""
    return Catalogue([define(function) for function in functions])


class FakeGuard:
    """Knows one key with every scope but READ_REPORTS; remembers asks, settlements and abandonments."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.refusal: Exception | None = None
        self.settle_refusal: Exception | None = None
        self.asks: list[Ask] = []
        self.credentials: list[Any] = []
        self.settled: list[list[bool]] = []
        self.abandoned = 0

    async def admit(
        self, credentials: Any, ask: Ask, request_id: str, idempotency: object = None
    ) -> Admission:
        self.asks.append(ask)
        self.credentials.append(credentials)
        if self.refusal is not None:
            raise self.refusal
        if credentials.text is None and ask.key_required:
            raise Unauthenticated
        if credentials.text not in (None, KEY):
            raise InvalidKey
        if "READ_REPORTS" in ask.scopes:
            raise ScopeMissing(frozenset({"READ_REPORTS"}), ask.coordinate)
        caller = Caller("acc_1", "key_1", "", frozenset({"RUN_ACTIONS"}), True, request_id, {})
        return Admission(
            ask=ask,
            request_id=request_id,
            caller=caller,
            credentials=credentials,
            metrics=self.metrics,
            windows=() if credentials.text is None else (WINDOW,),
            succeeded=[False] * len(ask.calls),
        )

    async def settle(self, admission: Admission, outcome: object = None) -> None:
        if self.settle_refusal is not None:
            raise self.settle_refusal
        admission.observe()
        self.settled.append(list(admission.succeeded))

    async def abandon(self, admission: Admission) -> None:
        self.abandoned += 1


@dataclass
class FakeEngine:
    """What the face uses of an engine when only actions are called."""

    settings: Settings
    catalogue: Catalogue
    guard: FakeGuard
    clock: ManualClock = field(default_factory=ManualClock)

    @property
    def metrics(self) -> Metrics:
        """Those of the guard."""
        return self.guard.metrics


@dataclass
class Face:
    """The face over a fake guard, and a client of it."""

    app: GraphQLHTTP
    engine: FakeEngine
    http: httpx.AsyncClient

    @property
    def guard(self) -> FakeGuard:
        """The fake guard."""
        return self.engine.guard

    async def post(
        self,
        query: str,
        variables: Any = None,
        *,
        key: str | None = KEY,
        accept: str = GRAPHQL,
        **members: Any,
    ) -> httpx.Response:
        """Send one operation."""
        headers = {"accept": accept, "content-type": JSON}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        body = {"query": query, "variables": variables, **members}
        return await self.http.post("/graphql", content=orjson.dumps(body), headers=headers)

    async def data(self, query: str, variables: Any = None) -> Any:
        """Send one operation that succeeds; return its data."""
        reply = await self.post(query, variables)
        assert reply.status_code == 200, reply.text
        assert "errors" not in reply.json(), reply.text
        return reply.json()["data"]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return catalogue_of(*FUNCTIONS)


@pytest.fixture
def seen() -> list[Any]:
    """What the actions were called with in this test."""
    SEEN.clear()
    return SEEN


def compiled_at_once(catalogue: Catalogue) -> GuardedSchema:
    """Build a schema that compiles each operation before its first run."""
    schema = build_schema(catalogue)
    return replace(schema, compiler=replace(schema.compiler, runs_before=0))


@pytest.fixture(scope="session", params=["compiled", "graphql-core"])
def guarded(request: pytest.FixtureRequest, catalogue: Catalogue) -> GuardedSchema:
    """Every test of the face holds for both executors."""
    if request.param == "compiled":
        return compiled_at_once(catalogue)
    return build_schema(catalogue, is_compiled=False)


@pytest.fixture
def both_faces(catalogue: Catalogue, tmp_path: Path) -> tuple[GraphQLHTTP, GraphQLHTTP]:
    """The face over a fake guard twice: compiled, and run by graphql-core."""
    settings = settings_of(tmp_path, max_operation_cost=10_000)
    metrics = Metrics(actions=[each.name for each in catalogue])
    schemas = (compiled_at_once(catalogue), build_schema(catalogue, is_compiled=False))
    engines = [FakeEngine(settings, catalogue, FakeGuard(metrics)) for _ in schemas]
    compiled, core = (GraphQLHTTP(*each) for each in zip(engines, schemas, strict=True))  # type: ignore[arg-type]
    return compiled, core


def settings_of(tmp_path: Path, **values: Any) -> Settings:
    """Return settings that read nothing of the machine's."""
    return Settings(_env_file=None, data_dir=tmp_path, **values)  # type: ignore[call-arg]


@pytest.fixture
async def face(catalogue: Catalogue, guarded: Any, tmp_path: Path) -> AsyncIterator[Face]:
    settings = settings_of(
        tmp_path, max_body_bytes=20_000, max_operation_cost=50, operation_timeout_seconds=1.0
    )
    engine = FakeEngine(settings, catalogue, FakeGuard(Metrics(actions=[each.name for each in catalogue])))
    app = GraphQLHTTP(engine, guarded)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
        yield Face(app, engine, http)


CLI = Actor("cli", "tests")


@dataclass
class House:
    """An open engine on a real database behind the face."""

    engine: Engine
    http: httpx.AsyncClient
    secrets: dict[str, str] = field(default_factory=dict)

    async def account(self, email: str = "somebody@example.test", **values: Any) -> Account:
        """Make an account."""
        return await self.engine.accounts.create(email, by=CLI, **{"rate": "100000/second", **values})

    async def key(self, account: Account, *scopes: str, **values: Any) -> Any:
        """Issue a key."""
        chosen = {"scopes": scopes} if scopes else {}
        return await self.engine.keys.create(
            account.id, NewKey(name=values.pop("name", "a key"), **chosen, **values), by=CLI
        )

    async def post(self, query: str, variables: Any = None, *, key: Any = None) -> httpx.Response:
        """Send one operation with an issued key, or none."""
        headers = {"accept": GRAPHQL} if key is None else {"accept": GRAPHQL, "x-api-key": key.secret}
        return await self.http.post(
            "/graphql", json={"query": query, "variables": variables}, headers=headers
        )

    async def data(self, query: str, variables: Any = None, *, key: Any = None) -> Any:
        """Send one operation that succeeds; return its data."""
        reply = await self.post(query, variables, key=key)
        assert reply.status_code == 200, reply.text
        assert "errors" not in reply.json(), reply.text
        return reply.json()["data"]


@pytest.fixture
async def house(
    database: Database, database_url: str, catalogue: Catalogue, tmp_path: Path
) -> AsyncIterator[House]:
    engine = build_engine(settings_of(tmp_path, database_url=database_url), catalogue=catalogue)
    # One pool for a process: the engine's takes the place of the fixture's.
    await database.close()
    await engine.open()
    app = GraphQLHTTP(engine, compiled_at_once(catalogue))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as http:
        yield House(engine, http)
    await engine.close()
    await database.open()


@pytest.fixture(autouse=True)
def no_error_is_logged(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client does wrong, nothing of level error is logged; a test that expects it says so."""
    yield
    if "logs_errors" not in request.fixturenames:
        found = [each for each in caplog.records if each.levelno >= logging.ERROR]
        assert not found, found


@pytest.fixture
def logs_errors() -> None:
    """Say that a test expects errors in the log."""
