"""Holding what waits in queues: looked at, and let go again unless somebody acks it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from pika.channel import Channel

from postroad.broker.connection import Connection, ConnectionLost, Login
from postroad.broker.deliveries import ChannelSettlement, Delivery, hand_to

PREFETCH_MAX = 65_535  # AMQP 0-9-1 basic.qos: a short
_PATIENCE_S = 2.0  # without a message; the rest may be in other hands


class CannotHold(Exception):
    """The queues cannot be read, or no longer; the message says why."""


@dataclass(frozen=True, slots=True)
class BrowsedMessage:
    """A message, and the queue in which it still is until it is acked."""

    queue: str
    delivery: Delivery


class QueueBrowser:
    """Holds the oldest messages of some queues, at most ``PREFETCH_MAX`` of each.

    Nobody else is given them meanwhile. Whatever was not acked is back in its queue when the holder
    closes, loses its connection, or dies.
    """

    def __init__(self, login: Login, queues: Iterable[str]) -> None:
        self._connection = Connection(login, "holder", set_up=self._set_up, on_lost=self._on_lost)
        self._queues = list(queues)
        self._messages: asyncio.Queue[BrowsedMessage] = asyncio.Queue()
        self._expected = 0
        self._refusal = ""
        self.is_lost = False

    async def browse(self, timeout_s: float) -> list[BrowsedMessage]:
        """Take what waits now, queue by queue, oldest first.

        Raises:
            CannotHold: the broker is away, or refuses.
        """
        await self._connection.start()
        if not await self._connection.opened(timeout_s) or self._refusal:
            raise CannotHold(self._refusal or "the message broker is away")
        held: list[BrowsedMessage] = []
        while len(held) < self._expected and not self.is_lost:
            try:
                held.append(await asyncio.wait_for(self._messages.get(), _PATIENCE_S))
            except TimeoutError:
                break
        if self.is_lost:
            raise CannotHold("the connection to the message broker went")
        place = {queue: number for number, queue in enumerate(self._queues)}
        return sorted(held, key=lambda message: place[message.queue])

    async def close(self) -> None:
        """Let go of all that was not acked."""
        await asyncio.sleep(0)  # acks of this loop turn are sent at its end
        await self._connection.close()

    async def _set_up(self, connection: Connection, channel: Channel) -> None:
        if self.is_lost or self._refusal:
            return  # it is over: what comes now is not what was looked at
        settlement = ChannelSettlement(channel)
        try:
            for queue in self._queues:
                await self._consume(connection, channel, settlement, queue)
        except ConnectionLost as error:
            self._refusal = str(error)
            raise

    async def _consume(
        self, connection: Connection, channel: Channel, settlement: ChannelSettlement, queue: str
    ) -> None:
        declared = await connection.ask(channel.queue_declare, queue=queue, passive=True)
        count = min(declared.method.message_count, PREFETCH_MAX)
        if not count:
            return
        self._expected += count
        await connection.ask(channel.basic_qos, prefetch_count=count)  # of the next consumer
        await connection.ask(
            channel.basic_consume,
            queue=queue,
            on_message_callback=hand_to(partial(self._on_delivery, queue), settlement),
        )

    def _on_delivery(self, queue: str, delivery: Delivery) -> None:
        self._messages.put_nowait(BrowsedMessage(queue, delivery))

    def _on_lost(self) -> None:
        self.is_lost = self._expected > 0
