"""Documents that a worker has not read before are counted before they are parsed, by who can be believed."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
from typing import Any

import httpx
import pytest

from api_factory.clock import ManualClock
from api_factory.ids import public_id
from api_factory.keys.secret import mint
from schema.http import GraphQLHTTP

GRAPHQL = "application/graphql-response+json"
OFFICE, ELSEWHERE = "203.0.113.7", "198.51.100.1"
MOST = 4
MOST_OF_A_KEY = 6


@dataclasses.dataclass
class Worker:
    """A face over a whole engine, whose clock of documents stands still."""

    app: GraphQLHTTP
    clock: ManualClock
    parsed: list[str]

    async def post(self, query: str, *, key: str | None = None, address: str = OFFICE) -> httpx.Response:
        """Send one operation from an address."""
        headers = {"accept": GRAPHQL} | ({} if key is None else {"x-api-key": key})
        transport = httpx.ASGITransport(self.app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
            return await http.post("/graphql", json={"query": query}, headers=headers)


@pytest.fixture
async def worker(house: Any, guarded: Any, monkeypatch: pytest.MonkeyPatch) -> Worker:
    clock = ManualClock()
    rates = {"address_document_rate": f"{MOST}/minute", "key_document_rate": f"{MOST_OF_A_KEY}/minute"}
    settings = type(house.engine.settings)(
        _env_file=None,
        database_url=house.engine.settings.database_url,
        data_dir=house.engine.settings.data_dir,
        **rates,
    )
    app = GraphQLHTTP(dataclasses.replace(house.engine, settings=settings, clock=clock), guarded)
    parsed: list[str] = []
    check = app._documents._check

    def counted(text: str, node: Any) -> Any:
        parsed.append(text)
        return check(text, node)

    monkeypatch.setattr(app._documents, "_check", counted)
    return Worker(app, clock, parsed)


def document(number: object) -> str:
    return f"{{ a{number}: ping }}"


def paid(number: object) -> str:
    return f'{{ a{number}: echo(text: "x") }}'


async def flood(worker: Worker, make: Any = document, **options: Any) -> list[int]:
    """Send ten documents that nobody has sent; return the statuses."""
    return [(await worker.post(make(f"f{n}"), **options)).status_code for n in range(10)]


async def test_a_flood_of_new_documents_is_refused_before_they_are_parsed(worker: Worker) -> None:
    assert await flood(worker) == [200] * MOST + [429] * 6
    assert len(worker.parsed) == MOST
    refused = await worker.post("{")
    (error,) = refused.json()["errors"]
    assert refused.status_code == 429
    assert set(refused.json()) == {"errors"}
    assert error["extensions"] == {
        "code": "RATE_LIMITED",
        "policy": "new-documents",
        "limit": MOST,
        "window": 60,
        "remaining": 0,
        "retryAfter": 15,
    }
    assert "variables" in error["message"]
    assert refused.headers["retry-after"] == "15"
    assert refused.headers["ratelimit-policy"] == f'"new-documents";q={MOST};w=60'
    assert refused.headers["ratelimit"] == '"new-documents";r=0;t=15'
    worker.clock.advance(15)
    assert await flood(worker, lambda name: f"{{ b{name}: ping }}") == [200] + [429] * 9


async def test_a_document_that_was_read_is_not_counted_again(worker: Worker) -> None:
    await flood(worker)
    for _ in range(20):
        assert (await worker.post(document("f0"))).status_code == 200
    assert len(worker.parsed) == MOST


async def test_a_flood_from_one_address_touches_nobody_elsewhere(house: Any, worker: Worker) -> None:
    key = (await house.key(await house.account())).secret
    await flood(worker)
    assert (await worker.post(document(1), address=ELSEWHERE)).status_code == 200
    assert (await worker.post(paid(1), key=key, address=ELSEWHERE)).status_code == 200
    # Who shares the address of a flood cannot be told from it until he is proved; what was read still runs.
    assert (await worker.post(paid(2), key=key)).status_code == 429
    assert (await worker.post(paid(1), key=key)).status_code == 200


async def test_addresses_of_one_customer_are_one(worker: Worker) -> None:
    for number in range(MOST):
        await worker.post(document(number), address=f"2001:db8::{number}")
    assert (await worker.post(document("x"), address="2001:db8::ffff")).status_code == 429
    assert (await worker.post(document("x"), address="2001:db8:0:1::1")).status_code == 200


async def test_proved_keys_pay_themselves_and_not_their_address(house: Any, worker: Worker) -> None:
    account = await house.account()
    keys = [(await house.key(account)).secret for _ in range(3)]
    for number, key in enumerate(keys):
        statuses = [(await worker.post(paid(f"{number}_{n}"), key=key)).status_code for n in range(10)]
        assert statuses == [200] * MOST_OF_A_KEY + [429] * (10 - MOST_OF_A_KEY)
    refused = await worker.post(paid("last"), key=keys[0])
    assert refused.json()["errors"][0]["extensions"]["policy"] == "new-documents-key"
    assert await flood(worker) == [200] * MOST + [429] * 6


@pytest.mark.parametrize("query", ["{ nothing }", "{", 'mutation { write(what: "x") }'])
async def test_what_is_wrong_or_not_allowed_is_paid_by_the_address(
    house: Any, worker: Worker, query: str
) -> None:
    key = (await house.key(await house.account(), "READ_USAGE")).secret
    statuses = [(await worker.post(f"{query} # {n}", key=key)).status_code for n in range(MOST + 1)]
    assert statuses[-1] == 429
    assert 429 not in statuses[:-1]


async def test_made_up_keys_have_no_allowance_of_their_own(house: Any, worker: Worker) -> None:
    issued = await house.key(await house.account())
    statuses = []
    for number in range(10):
        forged = mint(True, issued.key.id)
        statuses.append((await worker.post(paid(f"x{number}"), key=forged)).status_code)
    assert statuses == [401] * MOST + [429] * 6
    # And they take nothing from the key whose id they show.
    own = [
        (await worker.post(paid(f"own{n}"), key=issued.secret, address=ELSEWHERE)).status_code
        for n in range(MOST_OF_A_KEY)
    ]
    assert own == [200] * MOST_OF_A_KEY
    assert public_id("key", issued.key.id) == issued.key.public_id


async def test_many_who_bring_the_same_new_document_at_once_have_it_read_once(
    house: Any, worker: Worker
) -> None:
    key = (await house.key(await house.account())).secret
    replies = await asyncio.gather(*(worker.post(paid("same"), key=key) for _ in range(30)))
    assert [reply.status_code for reply in replies] == [200] * 30
    assert worker.parsed == [paid("same")]
    assert (len(worker.app._documents), len(worker.app._documents._under_way)) == (1, 1)


async def test_what_nobody_was_admitted_with_is_not_held(worker: Worker) -> None:
    await worker.post('{ echo(text: "x") }')
    gc.collect()
    assert (len(worker.app._documents), len(worker.app._documents._under_way)) == (0, 0)
