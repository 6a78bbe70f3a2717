"""A whole engine on a real database, with actions made for the occasion."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from api_factory.accounts import Account, load_plans
from api_factory.actions import Action, ActionError, Caller, Catalogue, action, define
from api_factory.audit import Actor
from api_factory.clock import ManualClock
from api_factory.credentials import Credentials
from api_factory.db import Database
from api_factory.errors import InternalError
from api_factory.guard import Admission, Ask
from api_factory.keys import NewKey
from api_factory.settings import Settings
from api_factory.wiring import Engine, build_engine

CLI = Actor("cli", "tests")


@action(units=2)
async def double(text: str) -> str:
    """Say it twice."""
    return text * 2


@action(units=3, charge="reserve")
async def costly(text: str) -> str:
    """Hold units first."""
    return text


@action(units=1)
async def fails(how: str) -> str:
    """Fail as told."""
    if how == "expected":
        raise ActionError("not today", "NOT_TODAY")
    raise RuntimeError("af_live_secret is not for clients")


@action(units=1, rate="3/minute")
async def limited() -> str:
    """Have a limit of its own."""
    return "ok"


@action(charge="free")
async def free() -> str:
    """Cost nothing."""
    return "ok"


@action(public=True, charge="free", rate="2/minute")
async def hello(caller: Caller) -> str:
    """Need no key."""
    return caller.account_id


@action(units=1, scope="SPECIAL")
async def special() -> str:
    """Need a scope of its own."""
    return "ok"


FUNCTIONS: Sequence[Callable[..., Any]] = (double, costly, fails, limited, free, hello, special)


@dataclass
class House:
    """An open engine, and the steps a face takes."""

    engine: Engine
    clock: ManualClock
    secrets: dict[str, str] = field(default_factory=dict)

    def action(self, name: str) -> Action:
        """Return an action of the catalogue."""
        found = self.engine.catalogue.get(name)
        assert found is not None
        return found

    async def account(self, *, quota_units: int | None = 100, rate: str | None = "1000/second") -> Account:
        """Make an account on the free plan with its own quota and rate."""
        number = await self.engine.db.fetchval("SELECT count(*) FROM account")
        return await self.engine.accounts.create(
            f"a{number}@example.test", quota_units=quota_units, rate=rate, by=CLI
        )

    async def key(self, account: Account, **options: Any) -> str:
        """Make a key; return its secret."""
        new = NewKey(name="k", scopes=options.pop("scopes", ("RUN_ACTIONS", "READ_USAGE")), **options)
        issued = await self.engine.keys.create(account.id, new, by=CLI)
        self.secrets[issued.secret] = issued.key.public_id
        return issued.secret

    def ask(self, *names: str) -> Ask:
        """Return what a face would ask for these actions."""
        actions = tuple(self.action(name) for name in names)
        scopes = frozenset(action.scope for action in actions if not action.public)
        return Ask(calls=actions, scopes=scopes, key_required=not all(action.public for action in actions))

    async def admit(self, secret: str | None, *names: str, address: str = "192.0.2.1") -> Admission:
        """Enter."""
        return await self.engine.guard.admit(Credentials(secret, address), self.ask(*names), "request")

    async def call(self, secret: str | None, *names: str, **arguments: object) -> Admission:
        """Enter, run everything, settle; a failed action is not raised."""
        admission = await self.admit(secret, *names)
        for index, name in enumerate(names):
            wanted = {parameter.name for parameter in self.action(name).parameters}
            with contextlib.suppress(ActionError, InternalError):
                await admission.run(index, {key: value for key, value in arguments.items() if key in wanted})
        await self.engine.guard.settle(admission)
        return admission

    async def used(self, account: Account) -> tuple[int, int]:
        """Return what is used and reserved now."""
        standing = await self.engine.usage.standing(account.id)
        return standing.used, standing.reserved


@pytest.fixture
async def house(database: Database, database_url: str, tmp_path: Any) -> AsyncIterator[House]:
    """An engine whose clock stands still for the limits."""
    clock = ManualClock()
    settings = Settings(DATABASE_URL=database_url, data_dir=tmp_path)  # type: ignore[call-arg]
    engine = build_engine(settings, catalogue=Catalogue([define(f) for f in FUNCTIONS]), clock=clock)
    await database.close()
    await engine.open()
    await engine.plans.apply(load_plans(None), by=CLI)
    yield House(engine, clock)
    await engine.close()
    await database.open()
