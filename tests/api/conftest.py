"""An application whose guard is a fake that lets everybody in and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.app import Application
from api_factory.actions import ID, ActionError, Caller, Catalogue, action, define
from api_factory.clock import ManualClock
from api_factory.errors import NotFound
from api_factory.guard import Admission, Ask
from api_factory.hello import echo, ping
from api_factory.limits.windows import WindowStatus
from api_factory.metrics import DatabaseGauges, Metrics
from api_factory.settings import Settings
from api_factory.wiring import Check
from schema.build import build_schema
from schema.http import GraphQLHTTP

WINDOW = WindowStatus("minute", 60, 60, 59, 42)
KEY = "af_live_anything"


class Tone(Enum):
    FORMAL = "formal, as in a letter"
    WARM = "warm"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who is greeted.

    Attributes:
        full_name: As on the envelope.
    """

    full_name: str
    tone: Tone = Tone.WARM
    born_at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.full_name:
            raise ValueError("full_name is empty")


@dataclass(frozen=True, slots=True)
class Greeting:
    """What is said."""

    text_said: str
    recipient: Recipient
    tags: frozenset[str]


@action(units=3, rate="10/second")
async def greet(
    recipient: Recipient,
    *,
    times: int = 1,
    volume: float = 0.5,
    loud: bool = False,
    reference: UUID | None = None,
    price: Decimal = Decimal("0.50"),
    tags: list[str] | None = None,
    tones: tuple[Tone, ...] = (),
    thread_id: ID | None = None,
    extra: dict[str, Any] | None = None,
) -> Greeting:
    """Greet somebody.

    Args:
        recipient: Who.
        times: How often.
    """
    return Greeting(" ".join(["Hello"] * times), recipient, frozenset(tags or ()))


@action
async def returned(value: Any) -> Any:
    """Return any JSON unchanged."""
    return value


@action(charge="reserve")
async def refuse(reason: str = "no") -> str:
    """Always refuse."""
    raise ActionError(f"Refused: {reason}", "TEXT_REFUSED", limit=7)


@action
async def crash() -> str:
    """Always break."""
    raise RuntimeError("the password is hunter2")


@action
async def cancel() -> str:
    """Cancel what nobody cancelled."""
    raise asyncio.CancelledError


@action
async def missing() -> str:
    """Refuse as the engine does."""
    raise NotFound


@action
async def lie() -> int:
    """Return what it does not promise."""
    return "no number"  # type: ignore[return-value]


@action(deprecated="use echo")
async def hang() -> str:
    """Never end."""
    await asyncio.Event().wait()
    return ""


FUNCTIONS = (ping, echo, greet, returned, refuse, crash, cancel, missing, lie, hang)


class FakeGuard:
    """Lets everybody in unless told otherwise; remembers asks, settlements and abandonments."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.refusal: Exception | None = None
        self.settle_refusal: Exception | None = None
        self.asks: list[tuple[Any, Ask]] = []
        self.settled: list[list[bool]] = []
        self.abandoned = 0

    async def admit(
        self, credentials: Any, ask: Ask, request_id: str, idempotency: object = None
    ) -> Admission:
        self.asks.append((credentials, ask))
        if self.refusal is not None:
            raise self.refusal
        caller = Caller("acc_1", "key_1", "", frozenset(), True, request_id, {})
        return Admission(
            ask=ask,
            request_id=request_id,
            caller=caller,
            credentials=credentials,
            metrics=self.metrics,
            windows=(WINDOW,),
            succeeded=[False] * len(ask.calls),
        )

    async def settle(self, admission: Admission, outcome: object = None) -> None:
        if self.settle_refusal is not None:
            raise self.settle_refusal
        admission.observe()
        self.settled.append(list(admission.succeeded))
        admission.units_charged = sum(line.units for line in admission.lines())

    async def abandon(self, admission: Admission) -> None:
        self.abandoned += 1


@dataclass
class FakeEngine:
    """What the faces use of an engine."""

    settings: Settings
    catalogue: Catalogue
    metrics: Metrics
    guard: FakeGuard
    checks: dict[str, Check] = field(
        default_factory=lambda: {
            "database": Check(True, "answers", 1.23456),
            "listener": Check(True, "listens", 0.0),
        }
    )
    gauges: DatabaseGauges = field(default_factory=lambda: DatabaseGauges({"ACTIVE": 3}, {"80": 1}, 0, 2))
    events: list[str] = field(default_factory=list)
    clock: ManualClock = field(default_factory=ManualClock)
    open_failure: Exception | None = None
    close_failure: Exception | None = None

    async def open(self) -> None:
        self.events.append("open")
        if self.open_failure is not None:
            raise self.open_failure

    async def close(self) -> None:
        self.events.append("close")
        if self.close_failure is not None:
            raise self.close_failure

    async def readiness(self) -> Mapping[str, Check]:
        return self.checks

    async def database_gauges(self) -> DatabaseGauges:
        return self.gauges


async def graphql(scope: Any, receive: Any, send: Any) -> None:
    """Stand in for the other face: read the body, answer its length, fail when the path says so."""
    if scope["query_string"] == b"fail":
        raise RuntimeError("the password is hunter2")
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    )
    if scope["query_string"] == b"half":
        raise RuntimeError("too late")
    await send({"type": "http.response.body", "body": b'{"length":%d}' % len(body)})


Build = Callable[..., tuple[Application, FakeEngine]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a function that builds an application with functions and settings of the test's own."""

    def build(
        functions: Sequence[Any] = FUNCTIONS, *, has_graphql: bool = False, **settings: Any
    ) -> tuple[Application, FakeEngine]:
        known = {"data_dir": tmp_path, "max_body_bytes": 2_000, **settings}
        catalogue = Catalogue([define(each) for each in functions])
        metrics = Metrics(actions=[each.name for each in catalogue])
        engine = FakeEngine(Settings(_env_file=None, **known), catalogue, metrics, FakeGuard(metrics))
        sdl = 'type Query { "Größe" ping: String! }\n'
        face = GraphQLHTTP(engine, build_schema(catalogue)) if has_graphql else graphql  # type: ignore[arg-type]
        return Application(engine, face, sdl), engine  # type: ignore[arg-type]

    return build


@pytest.fixture
def built(build: Build) -> tuple[Application, FakeEngine]:
    return build()


@pytest.fixture
def engine(built: tuple[Application, FakeEngine]) -> FakeEngine:
    return built[1]


@pytest.fixture
async def client(built: tuple[Application, FakeEngine]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(built[0]) as client:
        yield client


def client_of(app: Any, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, **options)
    return httpx.AsyncClient(transport=transport, base_url="http://api.example.test")


@pytest.fixture
def connect() -> Callable[..., httpx.AsyncClient]:
    """Return a function that makes a client of any application."""
    return client_of


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)
