"""The door's promises to a client that sends its request again: one charge, one outcome."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from api_factory.actions import ActionError
from api_factory.credentials import Credentials
from api_factory.errors import (
    BadUserInput,
    IdempotencyConflict,
    IdempotencyMismatch,
    InternalError,
    InvalidKey,
    QuotaExceeded,
    RateLimited,
    ScopeMissing,
    Unauthenticated,
)
from api_factory.guard import Admission, Ask
from api_factory.ids import parse_public_id
from api_factory.usage import IdempotencyRequest, Outcome
from tests.guard.conftest import CLI

if TYPE_CHECKING:
    from tests.guard.conftest import House

REQUEST = IdempotencyRequest("order-1", b"payload")


def outcome_of(admission: Admission, body: str = "first", *, is_passing: bool = False) -> Outcome:
    return Outcome(200, "OK", "application/json", body.encode(), admission.request_id, is_passing)


async def admit(house: House, secret: str | None, ask: Ask | str, number: int = 1) -> Admission:
    wanted = house.ask(ask) if isinstance(ask, str) else ask
    return await house.engine.guard.admit(
        Credentials(secret, "192.0.2.1"), wanted, f"request-{number}", REQUEST
    )


async def call(
    house: House, secret: str, name: str, number: int = 1, **arguments: object
) -> tuple[str, Admission]:
    """Do what a face does; return the body of the reply."""
    admission = await admit(house, secret, name, number)
    if admission.replay is not None:
        return admission.replay.body.decode(), admission
    body, is_passing = f"reply {number}", False
    try:
        await admission.run(0, arguments)
    except ActionError as error:
        body = error.code
    except InternalError as error:
        body, is_passing = error.code, True
    await house.engine.guard.settle(admission, outcome_of(admission, body, is_passing=is_passing))
    return body, admission


async def entries(house: House) -> int:
    count: int = await house.engine.db.fetchval("SELECT count(*) FROM idempotency")
    return count


@pytest.mark.parametrize(("name", "units"), [("double", 2), ("costly", 3)])
async def test_a_retry_is_charged_nothing_and_gets_the_first_outcome(
    house: House, name: str, units: int
) -> None:
    account = await house.account()
    secret = await house.key(account)
    assert (await call(house, secret, name, 1, text="a"))[0] == "reply 1"
    body, admission = await call(house, secret, name, 2, text="a")
    assert body == "reply 1"
    assert admission.units_charged == 0
    headers = admission.headers()
    assert (headers["Idempotency-Replayed"], headers["X-Original-Request-Id"]) == ("true", "request-1")
    assert await house.used(account) == (units, 0)
    assert (await house.engine.usage.verify()).drift == 0


async def test_a_retry_passes_the_rate_limits_like_any_call(house: House) -> None:
    account = await house.account(rate="2/minute")
    secret = await house.key(account)
    await call(house, secret, "double", 1, text="a")
    _, admission = await call(house, secret, "double", 2, text="a")
    assert admission.headers()["RateLimit"].startswith('"minute";r=0;')
    with pytest.raises(RateLimited):
        await call(house, secret, "double", 3, text="a")
    assert await house.used(account) == (2, 0)


@pytest.mark.parametrize("name", ["double", "costly"])
async def test_of_twenty_retries_at_once_one_runs_and_one_charge_is_made(house: House, name: str) -> None:
    """Fails when `begin` answers a running entry with another attempt: twenty run, and are charged."""
    account = await house.account(quota_units=1000)
    secret = await house.key(account)
    replies = await asyncio.gather(
        *(call(house, secret, name, number, text="a") for number in range(20)), return_exceptions=True
    )
    bodies = {reply[0] for reply in replies if not isinstance(reply, BaseException)}
    refused = [reply for reply in replies if isinstance(reply, BaseException)]
    assert all(isinstance(each, IdempotencyConflict) for each in refused)
    assert len(bodies) == 1
    assert (await call(house, secret, name, 99, text="a"))[0] in bodies
    units = house.action(name).units
    assert await house.used(account) == (units, 0)
    assert await house.engine.db.fetchval("SELECT sum(calls)::int FROM usage_event") == 1


async def test_a_retry_of_the_call_that_used_the_last_unit_gets_its_outcome(house: House) -> None:
    """Fails when the guard asks its memory of exhausted quotas before it looks for the entry."""
    account = await house.account(quota_units=2)
    secret = await house.key(account)
    await call(house, secret, "double", 1, text="a")
    with pytest.raises(QuotaExceeded):
        await house.call(secret, "double", text="a")
    assert (await call(house, secret, "double", 2, text="a"))[0] == "reply 1"
    assert await house.used(account) == (2, 0)


@pytest.mark.parametrize("name", ["double", "costly"])
async def test_a_refusal_for_want_of_quota_is_not_stored(house: House, name: str) -> None:
    account = await house.account(quota_units=1)
    secret = await house.key(account)
    for number in range(2):
        with pytest.raises(QuotaExceeded):
            await call(house, secret, name, number, text="a")
        assert await entries(house) == 0
    await house.engine.accounts.set_quota(account.id, 10, by=CLI, reason="more")
    assert (await call(house, secret, name, 5, text="a"))[0] == "reply 5"


async def test_a_known_exhausted_quota_refuses_and_leaves_no_entry(house: House) -> None:
    account = await house.account(quota_units=2)
    secret = await house.key(account)
    await house.call(secret, "double", text="a")
    with pytest.raises(QuotaExceeded):
        await house.call(secret, "double", text="a")
    with pytest.raises(QuotaExceeded):
        await call(house, secret, "double", 1, text="a")
    assert await entries(house) == 0


async def test_refusals_before_the_work_leave_no_entry(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    with pytest.raises(ScopeMissing):
        await call(house, secret, "special", 1)
    for _ in range(3):
        await house.call(secret, "limited")
    with pytest.raises(RateLimited):
        await call(house, secret, "limited", 2)
    with pytest.raises(Unauthenticated):
        await admit(house, None, "double")
    assert await entries(house) == 0


async def test_a_failed_action_is_the_outcome_and_a_retry_does_not_run_it_again(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    for number in (1, 2):
        assert (await call(house, secret, "fails", number, how="expected"))[0] == "NOT_TODAY"
    assert await house.used(account) == (0, 0)
    row = await house.engine.db.fetchrow("SELECT sum(calls)::int, sum(errors)::int FROM usage_event")
    assert row is not None
    assert tuple(row) == (1, 1)


async def test_a_fault_of_the_server_is_not_the_outcome(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    for number in (1, 2):
        assert (await call(house, secret, "fails", number, how="unexpected"))[0] == "INTERNAL"
        assert await entries(house) == 0
    assert await house.engine.db.fetchval("SELECT sum(errors)::int FROM usage_event") == 2
    assert await house.used(account) == (0, 0)


async def test_a_fault_beside_a_charge_is_the_outcome_for_it_has_been_paid(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    admission = await admit(house, secret, house.ask("double", "fails"))
    await admission.run(0, {"text": "a"})
    with pytest.raises(InternalError):
        await admission.run(1, {"how": "unexpected"})
    await house.engine.guard.settle(admission, outcome_of(admission, "half", is_passing=True))
    again = await admit(house, secret, house.ask("double", "fails"))
    assert again.replay is not None
    assert again.replay.body == b"half"
    assert await house.used(account) == (2, 0)


async def test_an_operation_that_was_abandoned_lets_its_retry_run(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    for name in ("double", "costly"):
        admission = await admit(house, secret, name)
        with pytest.raises(IdempotencyConflict):
            await admit(house, secret, name)
        await house.engine.guard.abandon(admission)
        assert await entries(house) == 0
    assert await house.used(account) == (0, 0)
    assert (await call(house, secret, "costly", 5, text="a"))[0] == "reply 5"


async def test_a_retry_while_it_runs_holds_no_units(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    admission = await admit(house, secret, "costly")
    with pytest.raises(IdempotencyConflict):
        await admit(house, secret, "costly")
    assert await house.used(account) == (0, 3)
    await house.engine.guard.abandon(admission)
    assert await house.used(account) == (0, 0)


async def test_a_caller_that_leaves_while_it_is_settled_is_charged_at_most_once(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    for number in range(10):
        admission = await admit(house, secret, "double", number)
        if admission.replay is not None:
            break
        await admission.run(0, {"text": "a"})
        settling = asyncio.create_task(
            house.engine.guard.settle(admission, outcome_of(admission, str(number)))
        )
        for _ in range(number + 1):
            await asyncio.sleep(0)
        settling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await settling
    else:
        await call(house, secret, "double", 99, text="a")
    assert (await call(house, secret, "double", 100, text="a"))[1].replay is not None
    assert await house.used(account) == (2, 0)
    assert (await house.engine.usage.verify()).drift == 0


async def test_an_action_can_pass_on_what_its_client_calls_the_request(house: House) -> None:
    secret = await house.key(await house.account())
    admission = await admit(house, secret, "double")
    assert admission.caller.idempotency_key == "order-1"
    await house.engine.guard.abandon(admission)
    assert (await house.admit(secret, "double")).caller.idempotency_key is None


async def test_another_payload_is_refused_and_not_run(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    await call(house, secret, "double", 1, text="a")
    with pytest.raises(IdempotencyMismatch):
        await house.engine.guard.admit(
            Credentials(secret, "192.0.2.1"),
            house.ask("double"),
            "request-2",
            replace(REQUEST, fingerprint=b"something else"),
        )
    assert await house.used(account) == (2, 0)


async def test_a_revoked_key_gets_no_outcome_and_a_rotated_one_still_does(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    await call(house, secret, "double", 1, text="a")
    key_id = parse_public_id("key", house.secrets[secret])
    assert key_id is not None
    rotated = (await house.engine.keys.rotate(key_id, by=CLI)).secret
    house.engine.key_cache.invalidate(key_id)
    assert (await call(house, rotated, "double", 2, text="a"))[0] == "reply 1"
    with pytest.raises(InvalidKey):
        await call(house, secret, "double", 3, text="a")
    await house.engine.keys.revoke(key_id, by=CLI)
    with pytest.raises(InvalidKey):
        await call(house, rotated, "double", 4, text="a")


async def test_what_has_no_effect_needs_no_entry(house: House) -> None:
    secret = await house.key(await house.account())
    for number in (1, 2):
        assert (await call(house, secret, "free", number))[0] == f"reply {number}"
    anonymous = await house.engine.guard.admit(
        Credentials(None, "192.0.2.1"), house.ask("hello"), "request", REQUEST
    )
    assert anonymous.entry is None
    assert await entries(house) == 0


async def test_a_mutation_that_costs_nothing_is_done_once(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    ask = replace(house.ask("free"), is_mutation=True)
    admission = await admit(house, secret, ask, 1)
    await admission.run(0, {})
    await house.engine.guard.settle(admission, outcome_of(admission))
    again = await admit(house, secret, ask, 2)
    assert again.replay is not None
    assert again.replay.request_id == "request-1"
    with pytest.raises(BadUserInput, match="belongs to an API key"):
        await admit(house, None, replace(house.ask("hello"), is_mutation=True))


async def test_a_reply_with_a_secret_is_never_stored(house: House) -> None:
    secret = await house.key(await house.account())
    with pytest.raises(BadUserInput, match="secret"):
        await admit(house, secret, replace(house.ask("double"), shows_secret=True))
    assert await entries(house) == 0


async def test_replays_are_counted(house: House) -> None:
    secret = await house.key(await house.account())
    for number in range(3):
        await call(house, secret, "double", number, text="a")
    exposition, _ = house.engine.metrics.render(await house.engine.database_gauges())
    assert b"api_factory_idempotent_replays_total 2.0" in exposition
