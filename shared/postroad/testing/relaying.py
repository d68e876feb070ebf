"""A relay, running for as long as a test needs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from postroad.messaging.publishing import MessagePublisher
from postroad.security.keyring import KeyRing
from postroad.storage.database import Database
from postroad.storage.outbox import Outbox, OutboxReader
from postroad.storage.relay import Relay
from postroad.testing.running import Reachable

LEASE_S, POLL_S = 30.0, 0.01


@asynccontextmanager
async def relaying(
    broker: Reachable, keys: KeyRing, outbox: Outbox, database: Database
) -> AsyncIterator[None]:
    """Send what is written into an outbox, as the service whose keys these are does."""
    publisher = broker.as_user(keys.service).publisher()
    reader = OutboxReader(database, outbox.table, lease_s=LEASE_S)
    relay = Relay(reader, MessagePublisher(publisher, keys), poll_s=POLL_S)
    outbox.on_written(relay.notify)
    await publisher.start()
    running = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])
        await publisher.close()
