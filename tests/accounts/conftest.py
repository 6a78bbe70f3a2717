from __future__ import annotations

import pytest

from api_factory.accounts import Accounts, Plans
from api_factory.audit import Actor, Audit
from api_factory.db import Database


@pytest.fixture
def by() -> Actor:
    return Actor("staff", "staff_1", "req-1")


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database)


@pytest.fixture
def plans(database: Database, audit: Audit) -> Plans:
    return Plans(database, audit)


@pytest.fixture
def accounts(database: Database, audit: Audit) -> Accounts:
    return Accounts(database, audit)
