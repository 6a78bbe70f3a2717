"""The door's promises: who gets in, what it costs, and that a refusal costs nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from api_factory.actions import ActionError
from api_factory.audit import Actor
from api_factory.credentials import Credentials
from api_factory.errors import (
    AccountSuspended,
    ActionNotAllowed,
    AddressNotAllowed,
    InternalError,
    InvalidKey,
    KeyExpired,
    KeySuspended,
    QuotaExceeded,
    RateLimited,
    ScopeMissing,
    Unauthenticated,
)
from api_factory.guard import Ask
from api_factory.ids import parse_public_id
from api_factory.rates import parse_rates

if TYPE_CHECKING:
    from uuid import UUID

    from tests.guard.conftest import House

BY = Actor("cli", "tests")


def key_id(house: House, secret: str) -> UUID:
    found = parse_public_id("key", house.secrets[secret])
    assert found is not None
    return found


async def test_a_call_is_charged_once_it_succeeded_and_the_numbers_are_those_of_the_row(house: House) -> None:
    account = await house.account()
    admission = await house.call(await house.key(account), "double", text="a")
    assert admission.units_charged == 2
    assert admission.standing is not None
    assert admission.standing.remaining == 98
    headers = admission.headers()
    assert headers["RateLimit-Policy"].startswith('"second";q=1000;w=1, "quota";q=100;w=')
    assert headers["RateLimit"].startswith('"second";r=999;t=1, "quota";r=98;t=')
    assert await house.used(account) == (2, 0)


async def test_a_failed_action_costs_nothing(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    for how in ("expected", "unexpected"):
        admission = await house.call(secret, "fails", how=how)
        assert admission.units_charged == 0
    assert await house.used(account) == (0, 0)
    assert await house.engine.db.fetchval("SELECT sum(errors) FROM usage_event") == 2


async def test_the_authors_error_comes_out_as_it_is_and_any_other_is_masked(house: House) -> None:
    secret = await house.key(await house.account())
    admission = await house.admit(secret, "fails")
    with pytest.raises(ActionError, match="not today"):
        await admission.run(0, {"how": "expected"})
    with pytest.raises(InternalError) as masked:
        await admission.run(0, {"how": "unexpected"})
    assert "secret" not in str(masked.value)
    assert masked.value.extensions == {"requestId": "request"}


async def test_one_operation_is_one_charge_for_all_its_calls(house: House) -> None:
    account = await house.account(quota_units=6)
    secret = await house.key(account)
    await house.call(secret, "double", "double", text="a")
    assert await house.used(account) == (4, 0)
    with pytest.raises(QuotaExceeded):
        await house.call(secret, "double", "double", text="a")
    assert await house.used(account) == (4, 0)
    admission = await house.call(secret, "double", "fails", text="a", how="expected")
    assert admission.units_charged == 2
    assert await house.used(account) == (6, 0)


async def test_a_reserving_action_holds_its_units_before_it_runs(house: House) -> None:
    account = await house.account(quota_units=4)
    secret = await house.key(account)
    admission = await house.admit(secret, "costly")
    assert await house.used(account) == (0, 3)
    with pytest.raises(QuotaExceeded) as refusal:
        await house.admit(secret, "costly")
    assert refusal.value.headers["RateLimit"].endswith(f"t={refusal.value.retry_after_seconds}")
    await admission.run(0, {"text": "a"})
    await house.engine.guard.settle(admission)
    assert await house.used(account) == (3, 0)


async def test_an_abandoned_operation_gives_back_what_it_held(house: House) -> None:
    account = await house.account()
    admission = await house.admit(await house.key(account), "costly")
    await house.engine.guard.abandon(admission)
    await house.engine.guard.abandon(admission)
    assert await house.used(account) == (0, 0)


async def test_a_success_that_could_not_be_delivered_is_not_charged(house: House) -> None:
    account = await house.account()
    admission = await house.admit(await house.key(account), "double")
    await admission.run(0, {"text": "a"})
    admission.fail(0)
    await house.engine.guard.settle(admission)
    assert await house.used(account) == (0, 0)


async def test_free_actions_leave_the_ledger_alone(house: House) -> None:
    account = await house.account(quota_units=0)
    admission = await house.call(await house.key(account), "free")
    assert (admission.units_charged, admission.standing) == (0, None)
    assert await house.engine.db.fetchval("SELECT count(*) FROM usage_event") == 0


@pytest.mark.parametrize("text", ["", "nonsense", "af_live_x_y_z", "af_live_" + "0" * 64, "\x00", "ä" * 5000])
async def test_garbage_is_refused_like_an_unknown_key(house: House, text: str) -> None:
    with pytest.raises(InvalidKey) as refusal:
        await house.admit(text, "double")
    assert refusal.value.message == InvalidKey().message
    assert refusal.value.headers["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'


async def test_without_a_key_only_public_actions_run(house: House) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        await house.admit(None, "double")
    assert refusal.value.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    admission = await house.admit(None, "hello")
    assert admission.is_anonymous
    assert await admission.run(0, {}) == ""
    await house.engine.guard.settle(admission)
    await house.engine.guard.abandon(admission)


async def test_a_public_actions_limit_counts_addresses(house: House) -> None:
    for _ in range(2):
        await house.admit(None, "hello", address="192.0.2.7")
    with pytest.raises(RateLimited):
        await house.admit(None, "hello", address="192.0.2.7")
    await house.admit(None, "hello", address="192.0.2.8")


async def test_the_exact_number_passes_in_each_window(house: House) -> None:
    account = await house.account(rate="5/second;8/minute")
    secret = await house.key(account)
    passed: list[int] = []
    for _ in range(3):
        attempts = [house.admit(secret, "free") for _ in range(7)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
        assert all(r.retry_after_seconds and "RateLimit" in r.headers for r in refusals)
        passed.append(7 - len(refusals))
        house.clock.advance(2)
    assert passed == [5, 3, 0]


async def test_an_actions_own_limit_is_per_key_and_refuses_before_anything_is_taken(house: House) -> None:
    account = await house.account(rate="100/minute")
    first, second = await house.key(account), await house.key(account)
    for _ in range(3):
        await house.call(first, "limited")
    with pytest.raises(RateLimited) as refusal:
        await house.call(first, "limited")
    assert refusal.value.extensions["policy"] == "limited-minute"
    admission = await house.call(second, "limited")
    # The refused call has taken nothing from the account's own window: 3 + 1 calls.
    assert [(w.policy, w.remaining) for w in admission.windows] == [("minute", 96), ("limited-minute", 2)]
    assert await house.used(account) == (4, 0)


async def test_a_fields_own_limit_is_enforced_as_well(house: House) -> None:
    secret = await house.key(await house.account())
    ask = Ask(field_rates=(("Query.usage", parse_rates("1/minute")[0]),))
    await house.engine.guard.admit(Credentials(secret, "192.0.2.1"), ask, "r")
    with pytest.raises(RateLimited):
        await house.engine.guard.admit(Credentials(secret, "192.0.2.1"), ask, "r")


async def test_scopes_and_allowed_actions_decide_what_a_key_may_call(house: House) -> None:
    account = await house.account()
    plain = await house.key(account)
    with pytest.raises(ScopeMissing) as refusal:
        await house.admit(plain, "special")
    assert refusal.value.extensions["requiredScopes"] == ["SPECIAL"]
    special = await house.key(account, scopes=("RUN_ACTIONS", "SPECIAL"))
    await house.call(special, "special", "double", text="a")
    narrow = await house.key(account, allowed_actions=("double",))
    await house.call(narrow, "double", text="a")
    with pytest.raises(ActionNotAllowed):
        await house.admit(narrow, "free")
    assert await house.used(account) == (5, 0)


async def test_a_key_works_from_its_networks_only(house: House) -> None:
    secret = await house.key(await house.account(), cidrs=("192.0.2.0/28", "2001:db8::/32"))
    for address in ("192.0.2.15", "2001:db8::7", "::ffff:192.0.2.3"):
        await house.admit(secret, "free", address=address)
    for address in ("192.0.2.16", "2001:db9::7", "unix", ""):
        with pytest.raises(AddressNotAllowed):
            await house.admit(secret, "free", address=address)


async def test_every_change_of_a_key_holds_for_the_next_call(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    keys, the_key = house.engine.keys, key_id(house, secret)
    await house.call(secret, "double", text="a")
    await keys.suspend(the_key, by=BY)
    with pytest.raises(KeySuspended):
        await house.call(secret, "double", text="a")
    await keys.resume(the_key, by=BY)
    await house.call(secret, "double", text="a")
    await house.engine.accounts.suspend(account.id, reason="unpaid", by=BY)
    with pytest.raises(AccountSuspended):
        await house.call(secret, "double", text="a")
    await house.engine.accounts.resume(account.id, by=BY)
    await keys.revoke(the_key, by=BY)
    with pytest.raises(InvalidKey):
        await house.call(secret, "double", text="a")
    assert await house.used(account) == (4, 0)


async def test_a_rotated_key_keeps_its_numbers_and_the_old_secret_ends_at_once(house: House) -> None:
    account = await house.account()
    old = await house.key(account)
    await house.call(old, "double", text="a")
    issued = await house.engine.keys.rotate(key_id(house, old), by=BY)
    with pytest.raises(InvalidKey):
        await house.call(old, "double", text="a")
    admission = await house.call(issued.secret, "double", text="a")
    assert admission.standing is not None
    assert admission.standing.used == 4
    assert admission.caller.key_id == house.secrets[old]


async def test_an_expired_key_is_told_so(house: House) -> None:
    now = await house.engine.db.fetchval("SELECT af_now()")
    secret = await house.key(await house.account(), expires_at=now + timedelta(hours=1))
    await house.admit(secret, "free")
    await house.engine.db.execute("UPDATE api_key SET expires_at = af_now() - interval '1 second'")
    house.engine.key_cache.invalidate(key_id(house, secret))
    with pytest.raises(KeyExpired):
        await house.admit(secret, "free")


async def test_a_decision_on_an_old_snapshot_is_made_anew_at_the_commit(house: House) -> None:
    account = await house.account()
    secret = await house.key(account)
    admission = await house.admit(secret, "double")
    await admission.run(0, {"text": "a"})
    await house.engine.accounts.set_quota(account.id, 50, reason="test", by=BY)
    await house.engine.guard.settle(admission)
    assert admission.standing is not None
    assert admission.standing.included == 50
    held = await house.admit(secret, "costly")
    await held.run(0, {"text": "a"})
    await house.engine.keys.rotate(key_id(house, secret), by=BY)
    with pytest.raises(InvalidKey):
        await house.engine.guard.settle(held)
    assert await house.used(account) == (2, 0)


async def test_an_exhausted_quota_is_refused_without_a_statement_until_it_changes(house: House) -> None:
    account = await house.account(quota_units=2)
    secret = await house.key(account)
    await house.call(secret, "double", text="a")
    with pytest.raises(QuotaExceeded):
        await house.call(secret, "double", text="a")
    before = await house.engine.db.fetchval("SELECT count(*) FROM usage_event")
    house.clock.advance(0.1)
    with pytest.raises(QuotaExceeded) as refusal:
        await house.admit(secret, "double")
    assert refusal.value.extensions["remaining"] == 0
    assert '"quota";r=0' in refusal.value.headers["RateLimit"]
    assert await house.engine.db.fetchval("SELECT count(*) FROM usage_event") == before
    await house.admit(secret, "free")
    await house.engine.accounts.set_quota(account.id, 10, reason="more", by=BY)
    house.engine.key_cache.invalidate(key_id(house, secret))
    await house.call(secret, "double", text="a")
    assert await house.used(account) == (4, 0)


async def test_racing_operations_deliver_exactly_the_quota(house: House) -> None:
    account = await house.account(quota_units=30)
    secrets = [await house.key(account) for _ in range(3)]

    async def one(n: int) -> int:
        name = ("double", "costly", "fails")[n % 3]
        try:
            arguments = {"how": "expected"} if name == "fails" else {"text": "a"}
            return (await house.call(secrets[n % 3], name, **arguments)).units_charged
        except QuotaExceeded:
            return 0

    delivered = sum(await asyncio.gather(*(one(n) for n in range(90))))
    used, reserved = await house.used(account)
    assert (used, reserved) == (delivered, 0)
    assert 28 <= used <= 30
    assert (await house.engine.usage.verify()).drift == 0


async def test_used_keys_get_their_last_use_written_in_one_batch(house: House) -> None:
    secret = await house.key(await house.account())
    await house.admit(secret, "free")
    used = house.engine.guard.take_used()
    assert set(used) == {key_id(house, secret)}
    assert house.engine.guard.take_used() == {}
    await house.engine.keys.touch(used)
    assert (await house.engine.keys.find(key_id(house, secret))).last_used_at is not None


async def test_peeking_takes_nothing(house: House) -> None:
    secret = await house.key(await house.account(rate="5/minute"))
    admission = await house.admit(secret, "free")
    for _ in range(3):
        windows = await house.engine.guard.peek(admission)
        assert [(w.policy, w.remaining) for w in windows] == [("minute", 4)]
    assert await house.engine.guard.peek(await house.admit(None, "hello")) == ()


async def test_no_answer_leaves_when_the_charge_could_not_be_committed(house: House) -> None:
    from api_factory.errors import Unavailable

    account = await house.account()
    secret = await house.key(account)
    await house.call(secret, "double", text="a")
    for name in ("double", "costly"):
        admission = await house.admit(secret, name)
        await admission.run(0, {"text": "a"})
        await house.engine.db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE 'SELECT * FROM ledger_commit%'"
        )
        with pytest.raises(Unavailable):
            await house.engine.guard.settle(admission)
        await asyncio.sleep(0.3)
        await house.engine.ledger.release_orphans()
    assert await house.used(account) == (2, 0)
    assert (await house.engine.usage.verify()).drift == 0


async def test_a_caps_refusal_does_not_close_the_accounts_other_keys(house: House) -> None:
    account = await house.account(quota_units=None)
    await house.engine.db.execute("UPDATE plan SET overage = 'soft', quota_units = 1")
    capped, free = await house.key(account, cap_units=2), await house.key(account)
    await house.call(capped, "double", text="a")
    with pytest.raises(QuotaExceeded):
        await house.call(capped, "double", text="a")
    admission = await house.call(free, "double", text="a")
    assert admission.units_charged == 2
    assert "quota" not in admission.headers()["RateLimit"]


async def test_an_exhausted_test_quota_leaves_the_live_keys_alone(house: House) -> None:
    account = await house.account()
    await house.engine.db.execute("UPDATE plan SET test_quota_units = 2")
    test, live = await house.key(account, livemode=False), await house.key(account)
    await house.call(test, "double", text="a")
    for _ in range(2):
        with pytest.raises(QuotaExceeded):
            await house.call(test, "double", text="a")
    await house.call(live, "double", text="a")
    assert await house.used(account) == (2, 0)


@pytest.mark.parametrize(
    "raised", [SystemExit(0), KeyboardInterrupt(), asyncio.CancelledError(), MemoryError()]
)
async def test_whatever_an_author_raises_is_his_actions_failure_alone(
    house: House, raised: BaseException
) -> None:
    async def body() -> str:
        raise raised

    secret = await house.key(await house.account())
    admission = await house.admit(secret, "double")
    admission.ask = Ask(calls=(replace(house.action("free"), function=body),))
    with pytest.raises(InternalError):
        await admission.run(0, {})


async def test_an_ipv6_caller_without_a_key_is_counted_by_its_network(house: House) -> None:
    for host in (1, 2):
        await house.admit(None, "hello", address=f"2001:db8:0:1::{host}")
    with pytest.raises(RateLimited):
        await house.admit(None, "hello", address="2001:db8:0:1:ffff::3")
    await house.admit(None, "hello", address="2001:db8:0:2::3")
    await house.admit(None, "hello", address="unix")


async def test_a_result_that_was_lost_is_counted_as_an_error(house: House) -> None:
    secret = await house.key(await house.account())
    admission = await house.admit(secret, "double")
    await admission.run(0, {"text": "a"})
    admission.fail(0)
    await house.engine.guard.settle(admission)
    text = house.engine.metrics.render(await house.engine.database_gauges())[0].decode()
    assert 'api_factory_action_calls_total{action="double",outcome="error"} 1.0' in text
    assert 'outcome="ok"' not in text
