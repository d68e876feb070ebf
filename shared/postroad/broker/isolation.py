"""Leaving a node that is cut off from the other nodes of its cluster.

Such a node keeps its clients, answers their heartbeats and delivers nothing; from RabbitMQ 4.3 on
it does not stop either. What it cannot do is change anything: that takes a majority of nodes. So
each consumer has it make a queue, again and again, and leaves it when that is not answered.
"""

import asyncio
from contextlib import suppress

from postroad.broker.connection import Connection, ConnectionLost

PAUSE_S = 10.0
ANSWER_S = 8.0  # more than a node stands still on a busy machine; it needs some milliseconds


class IsolationWatch:
    """Watches the node of one connection after the other."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, connection: Connection) -> None:
        """Watch from now on, until ``stop``."""
        self._task = asyncio.create_task(_leave_when_isolated(connection))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None


async def _leave_when_isolated(connection: Connection) -> None:
    with suppress(ConnectionLost):  # or the broker refuses, to a user of older definitions
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                async with asyncio.timeout(ANSWER_S):
                    await _make_queue(connection)
            except TimeoutError:
                connection.fail(
                    f"the node changed nothing within {ANSWER_S:.0f} s: it may be cut off"
                )
                return


async def _make_queue(connection: Connection) -> None:
    """Make a queue that is this connection's alone, and delete it, on a channel of its own."""
    channel = await connection.open_channel()
    declared = await connection.ask(
        channel.queue_declare,
        queue="",
        exclusive=True,
        auto_delete=True,
        arguments={"x-queue-type": "classic"},
    )
    await connection.ask(channel.queue_delete, queue=declared.method.queue)
    channel.close()
