"""Every attack of `bench.attacks` gets its code for a bounded number of steps, whatever it unfolds to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from bench import attacks
from bench.attacks import ATTACKS, Attack, code_of, document, fragments, repeated

GRAPHQL = "application/graphql-response+json"
MOST_STEPS = 150_000
"""Calls of Python functions to answer one attack; a small new document takes about 3,000."""


async def steps_of(work: Callable[[], Any]) -> tuple[Any, int]:
    """Await what `work` returns, and count the calls of Python functions until it is there."""
    steps = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal steps
        steps += event == "call"

    sys.setprofile(count)
    try:
        result = await work()
    finally:
        sys.setprofile(None)
    return result, steps


async def send(face: Any, body: bytes) -> tuple[httpx.Response, int]:
    """Send a body without a key; return the reply and the steps it took."""
    headers = {"accept": GRAPHQL, "content-type": "application/json"}
    return await steps_of(lambda: face.http.post("/graphql", content=body, headers=headers))


@pytest.fixture
def roomy(face: Any) -> Any:
    """A face that reads bodies of the default size."""
    face.engine.settings = face.engine.settings.model_copy(update={"max_body_bytes": 1_000_000})
    return face


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_each_attack_gets_its_code_for_a_bounded_number_of_steps(roomy: Any, attack: Attack) -> None:
    reply, steps = await send(roomy, attack.body(1))
    assert (reply.status_code, code_of(reply.json())) == attack.expected
    assert set(reply.json()) == {"errors"}
    assert len(reply.json()["errors"]) <= 5
    assert len(reply.content) < 5_000
    assert steps < MOST_STEPS
    assert (roomy.guard.settled, len(roomy.app._documents)) == ([], 0)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (fragments(20, 2), fragments(40, 2)),
        (fragments(10, 10), fragments(20, 10)),
        (repeated(900, "aN: ping"), repeated(1_800, "aN: ping")),
        (attacks.nested(50), attacks.nested(100)),
        ("{ ping " + "@a " * 30 + "}", "{ ping " + "@a " * 60 + "}"),
    ],
)
async def test_twice_the_attack_takes_at_most_about_twice_the_steps(
    roomy: Any, small: str, large: str
) -> None:
    await send(roomy, document("{ warm }")(0))
    _, few = await send(roomy, document(small)(1))
    _, many = await send(roomy, document(large)(1))
    assert many < 2.5 * few


async def test_a_flood_is_refused_in_fewer_steps_than_a_document_takes(roomy: Any) -> None:
    _, read = await send(roomy, orjson.dumps({"query": "{ first: ping }"}))
    for number in range(200):
        reply, refused = await send(roomy, orjson.dumps({"query": f"{{ a{number}: ping }}"}))
    assert reply.status_code == 429
    assert refused < read / 2
