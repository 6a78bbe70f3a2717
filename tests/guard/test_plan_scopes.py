"""A plan allows scopes: what it does not allow, no key on it holds, from the moment that it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from api_factory.accounts import load_plans
from api_factory.audit import Actor
from api_factory.errors import ScopeMissing

if TYPE_CHECKING:
    from tests.guard.conftest import House

BY = Actor("cli", "tests")


async def allow(house: House, *scopes: str) -> None:
    """Make these the scopes of every plan; nobody tells this worker."""
    plans = [replace(plan, scopes=frozenset(scopes)) for plan in load_plans(None)]
    await house.engine.plans.apply(plans, by=BY)


async def test_a_key_holds_only_what_its_plan_allows(house: House) -> None:
    account = await house.account()
    secret = await house.key(account, scopes=("RUN_ACTIONS", "SPECIAL"))
    await allow(house, "RUN_ACTIONS", "READ_USAGE")
    house.engine.key_cache.invalidate((await house.engine.keys.list()).keys[0].id)
    with pytest.raises(ScopeMissing) as refusal:
        await house.admit(secret, "special")
    assert refusal.value.extensions["requiredScopes"] == ["SPECIAL"]
    admission = await house.call(secret, "double", text="a")
    assert admission.caller.scopes == {"RUN_ACTIONS"}
    assert await house.used(account) == (2, 0)


async def test_a_scope_taken_from_the_plan_while_the_action_runs_is_refused_and_costs_nothing(
    house: House,
) -> None:
    account = await house.account()
    secret = await house.key(account, scopes=("RUN_ACTIONS", "SPECIAL"))
    admission = await house.admit(secret, "special")
    await admission.run(0, {})
    await allow(house, "RUN_ACTIONS")
    with pytest.raises(ScopeMissing):
        await house.engine.guard.settle(admission)
    assert await house.used(account) == (0, 0)


async def test_a_scope_given_to_the_plan_is_held_from_then_on(house: House) -> None:
    await allow(house, "RUN_ACTIONS")
    secret = await house.key(await house.account(), scopes=("RUN_ACTIONS", "SPECIAL"))
    with pytest.raises(ScopeMissing):
        await house.admit(secret, "special")
    await allow(house, "RUN_ACTIONS", "SPECIAL")
    house.engine.key_cache.invalidate((await house.engine.keys.list()).keys[0].id)
    assert (await house.call(secret, "special")).units_charged == 1
