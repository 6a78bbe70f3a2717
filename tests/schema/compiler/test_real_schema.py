"""Our own schema through both executors: the same bytes, the same calls, the same charges."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import orjson
import pytest
from graphql import parse, validate
from graphql.language import FloatValueNode, IntValueNode, StringValueNode
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import from_schema

from schema.http import GraphQLHTTP
from tests.schema.compiler.varying import vary
from tests.schema.compiler.writing import LITERALS, variables_for, write
from tests.schema.conftest import GRAPHQL, JSON, KEY, SEEN

Faces = tuple[GraphQLHTTP, GraphQLHTTP]

ENDLESS = frozenset({"hang", "writeSlowly"})
# A recipient without a badge gets the next number.
_BADGE = re.compile(r"00000000-0000-0000-0000-0000000[0-9a-f]{5}")
_SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def _post(app: GraphQLHTTP, body: dict[str, Any]) -> tuple[int, str]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": orjson.dumps(body), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = {b"content-type": JSON, b"accept": GRAPHQL, b"authorization": f"Bearer {KEY}"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [
            (name, value if isinstance(value, bytes) else value.encode()) for name, value in headers.items()
        ],
        "client": ("192.0.2.1", 1),
        "state": {"request_id": "the-request"},
    }
    await app(scope, receive, send)
    return sent[0]["status"], _BADGE.sub("…", sent[1]["body"].decode())


def _observed(loop: asyncio.AbstractEventLoop, app: GraphQLHTTP, body: dict[str, Any]) -> Any:
    SEEN.clear()
    guard: Any = app._engine.guard
    asks, settled = len(guard.asks), len(guard.settled)
    reply = loop.run_until_complete(_post(app, body))
    calls = [(each.name, str(each)) for ask in guard.asks[asks:] for each in ask.calls]
    return reply, calls, guard.settled[settled:], guard.abandoned, _BADGE.sub("…", repr(SEEN))


def _same(loop: asyncio.AbstractEventLoop, faces: Faces, body: dict[str, Any]) -> int:
    compiled, core = (_observed(loop, app, body) for app in faces)
    assert compiled == core, body
    status: int = core[0][0]
    return status


@_SETTINGS
@given(seed=st.integers(0, 2**32))
def test_a_document_of_ours_gets_the_same_reply(
    both_faces: Faces, loop: asyncio.AbstractEventLoop, logs_errors: None, seed: int
) -> None:
    _check(both_faces, loop, seed)


def _check(faces: Faces, loop: asyncio.AbstractEventLoop, seed: int) -> list[int]:
    random, core = Random(seed), faces[0]._schema.core
    kind = random.choice(("query", "query", "mutation"))
    written = write(core, random, kind, literals=LITERALS, skipped=ENDLESS, room=15)
    if written is None:
        return []
    text, document = written
    return [
        _same(loop, faces, {"query": text, "variables": variables_for(core, document, random, wrong)})
        for wrong in (0, 0, 0.05)
    ]


def test_most_of_these_documents_are_run(
    both_faces: Faces, loop: asyncio.AbstractEventLoop, logs_errors: None
) -> None:
    statuses = [status for seed in range(40) for status in _check(both_faces, loop, seed)]
    assert statuses.count(200) > 40


_SCALARS: Any = {
    "BigInt": st.just(IntValueNode(value="5")),
    "Date": st.just(StringValueNode(value="2026-01-31")),
    "DateTime": st.just(StringValueNode(value="2026-01-31T12:00:00Z")),
    "Decimal": st.just(FloatValueNode(value="1.50")),
    "JSON": st.just(StringValueNode(value="text")),
    "Time": st.just(StringValueNode(value="12:30:00")),
    "UUID": st.just(StringValueNode(value="01890a5d-ac96-774b-bcce-b302099a8057")),
}


@settings(_SETTINGS, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_document_of_another_hand_gets_the_same_reply(
    both_faces: Faces, loop: asyncio.AbstractEventLoop, logs_errors: None, data: st.DataObject, seed: int
) -> None:
    core = both_faces[0]._schema.core
    roots = {*core.query_type.fields, *core.mutation_type.fields}  # type: ignore[union-attr]
    text = data.draw(
        from_schema(core, fields=sorted(roots - ENDLESS), custom_scalars=_SCALARS, codec="ascii")
    )
    document = parse(text)
    assume(not validate(core, document))
    _same(loop, both_faces, {"query": text})
    varied, variables = vary(core, document, Random(seed))
    _same(loop, both_faces, {"query": varied.loc.source.body if varied.loc else "", "variables": variables})
