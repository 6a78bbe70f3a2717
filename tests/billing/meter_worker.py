"""A worker that closes and sends without end: `python -m tests.billing.meter_worker STRIPE ACCOUNT`."""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import UUID

from api_factory.billing.meters import Meters
from api_factory.billing.stripe import Stripe
from api_factory.db import Database


async def main() -> None:
    database = Database(os.environ["DATABASE_URL"])
    await database.open()
    meters = Meters(database, Stripe("sk_test_fake", base=sys.argv[1]))
    print("ready", flush=True)
    while True:
        await database.execute("UPDATE meter_window SET next_attempt_at = af_now() WHERE lease IS NULL")
        await meters.flush(UUID(sys.argv[2]))


if __name__ == "__main__":
    asyncio.run(main())
