"""Reading what goes through the broker, as whoever administers it could."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from postroad.ids import new_id
from tests.e2e.system import System
from tests.support.brokers import Seen


class Spy:
    """A copy of all that is published to an exchange under some routing keys."""

    def __init__(self, system: System, queue: str) -> None:
        self._system = system
        self._queue = queue
        self.seen: list[Seen] = []

    async def look(self) -> list[Seen]:
        """Take what has come since, and give all that was ever seen."""
        self.seen += await asyncio.to_thread(take_all, self._system, self._queue)
        return self.seen


@asynccontextmanager
async def spying(system: System, exchange: str, routing_key: str = "#") -> AsyncIterator[Spy]:
    """Copy messages into a queue of the test's own, which is deleted at the end."""
    queue = f"spy.{new_id()}"
    with system.connect() as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, exchange, routing_key)
    try:
        yield Spy(system, queue)
    finally:
        with system.connect() as connection:
            connection.channel().queue_delete(queue)


def take_all(system: System, queue: str) -> list[Seen]:
    """Take all messages out of a queue."""
    taken = []
    with system.connect() as connection:
        channel = connection.channel()
        while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
            taken.append(Seen(got[2], got[1]))
    return taken
