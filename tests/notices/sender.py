"""A worker that delivers notices to the URL it is given: `python -m tests.notices.sender URL`."""

from __future__ import annotations

import asyncio
import os
import sys

from api_factory.db import Database
from api_factory.notices import Channels, Notices, signing_keys
from api_factory.notices.address import AddressRule
from api_factory.notices.channels import Hook
from tests.notices.conftest import SECRET


async def main() -> None:
    database = Database(os.environ["DATABASE_URL"])
    await database.open()
    hook = Hook(sys.argv[1], signing_keys(SECRET), AddressRule(allows_this_machine=True), timeout_seconds=60)
    await Notices(database, Channels(hook=hook)).deliver_due()


if __name__ == "__main__":
    asyncio.run(main())
